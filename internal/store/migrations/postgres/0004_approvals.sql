-- +goose Up
alter table approvals add column quorum bigint not null default 0;
alter table approvals add column repeats bigint not null default 0;
alter table approvals add column cool_until bigint not null default 0;
create index approvals_cooling on approvals (org, agent, cool_until);

-- The answers to a question that takes more than one person's yes.
create table approval_votes (
	org          text collate "C" not null,
	approval     text collate "C" not null,
	user_id      text collate "C" not null,
	at           bigint not null,
	channel      text collate "C" not null,
	level        bigint not null,
	evidence     bytea not null,
	precondition text collate "C" not null,
	version      bigint not null,
	mac          bytea not null,
	primary key (org, approval, user_id)
);

-- Whom an approval was put before. It finds questions for people and counts
-- them; who may answer is judged anew each time.
create table approval_asked (
	org      text collate "C" not null,
	approval text collate "C" not null,
	user_id  text collate "C" not null,
	open     bigint not null,
	primary key (org, approval, user_id)
);
create index approval_asked_open on approval_asked (org, user_id, open);

-- People whom rules name together.
create table people_groups (
	org        text collate "C" not null,
	id         text collate "C" not null,
	name       text collate "C" not null,
	members    text collate "C" not null,
	created_at bigint not null,
	version    bigint not null,
	mac        bytea not null,
	primary key (org, id)
);
create unique index people_groups_name on people_groups (org, name);

-- What a person let pass beforehand: one operation on one resource, so often
-- and so long.
create table reliefs (
	org        text collate "C" not null,
	id         text collate "C" not null,
	agent      text collate "C" not null,
	connection text collate "C" not null,
	user_id    text collate "C" not null,
	operation  text collate "C" not null,
	resource   text collate "C" not null,
	risk       bigint not null,
	given_by   text collate "C" not null,
	approval   text collate "C" not null,
	most       bigint not null,
	used       bigint not null,
	created_at bigint not null,
	expires_at bigint not null,
	revoked_at bigint not null,
	version    bigint not null,
	mac        bytea not null,
	primary key (org, id)
);
create index reliefs_agent on reliefs (org, agent, expires_at);

-- +goose Down
select 'migrations only go forward';
