-- +goose Up
alter table approvals add column quorum integer not null default 0;
alter table approvals add column repeats integer not null default 0;
alter table approvals add column cool_until integer not null default 0;
create index approvals_cooling on approvals (org, agent, cool_until);

-- The answers to a question that takes more than one person's yes.
create table approval_votes (
	org          text not null,
	approval     text not null,
	user_id      text not null,
	at           integer not null,
	channel      text not null,
	level        integer not null,
	evidence     blob not null,
	precondition text not null,
	version      integer not null,
	mac          blob not null,
	primary key (org, approval, user_id)
);

-- Whom an approval was put before. It finds questions for people and counts
-- them; who may answer is judged anew each time.
create table approval_asked (
	org      text not null,
	approval text not null,
	user_id  text not null,
	open     integer not null,
	primary key (org, approval, user_id)
);
create index approval_asked_open on approval_asked (org, user_id, open);

-- People whom rules name together.
create table people_groups (
	org        text not null,
	id         text not null,
	name       text not null,
	members    text not null,
	created_at integer not null,
	version    integer not null,
	mac        blob not null,
	primary key (org, id)
);
create unique index people_groups_name on people_groups (org, name);

-- What a person let pass beforehand: one operation on one resource, so often
-- and so long.
create table reliefs (
	org        text not null,
	id         text not null,
	agent      text not null,
	connection text not null,
	user_id    text not null,
	operation  text not null,
	resource   text not null,
	risk       integer not null,
	given_by   text not null,
	approval   text not null,
	most       integer not null,
	used       integer not null,
	created_at integer not null,
	expires_at integer not null,
	revoked_at integer not null,
	version    integer not null,
	mac        blob not null,
	primary key (org, id)
);
create index reliefs_agent on reliefs (org, agent, expires_at);

-- +goose Down
select 'migrations only go forward';
