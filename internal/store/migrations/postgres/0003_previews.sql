-- +goose Up
alter table approvals add column precondition text not null default '';
alter table connections add column previews text not null default '';
