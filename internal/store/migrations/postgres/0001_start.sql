-- +goose Up
-- Text compares by its bytes, as in SQLite, whatever the database's own
-- collation is: order and ranges are the same on both.
create table authority (
	id    bigint not null primary key check (id = 1),
	epoch bigint not null
);
insert into authority (id, epoch) values (1, 1);

-- The audit log: one tree for the deployment.
create table audit_head (
	id   bigint not null primary key check (id = 1),
	size bigint not null,
	root bytea    not null
);
insert into audit_head (id, size, root)
values (1, 0, '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
create table audit_events (
	seq     bigint not null primary key,
	at      bigint not null,
	org     text    collate "C" not null,
	verb    text    collate "C" not null,
	actor   text    collate "C" not null,
	object  text    collate "C" not null,
	subject text    collate "C" not null,
	leaf    text    collate "C" not null
);
create index audit_events_object on audit_events (object, seq);
create index audit_events_actor on audit_events (actor, seq);
create table audit_hashes (
	idx  bigint not null primary key,
	hash bytea    not null
);

create table data_keys (
	name    text collate "C" not null primary key,
	wrapped bytea not null
);

create table users (
	org        text    collate "C" not null,
	id         text    collate "C" not null,
	name       text    collate "C" not null,
	role       text    collate "C" not null,
	status     text    collate "C" not null,
	handle     bytea    not null,
	created_at bigint not null,
	version    bigint not null,
	mac        bytea    not null,
	primary key (org, id)
);
create unique index users_name on users (org, name);
create unique index users_handle on users (handle);

create table passkeys (
	org           text    collate "C" not null,
	id            text    collate "C" not null,
	user_id       text    collate "C" not null,
	credential_id bytea    not null,
	name          text    collate "C" not null,
	credential    bytea    not null,
	created_at    bigint not null,
	used_at       bigint not null,
	version       bigint not null,
	mac           bytea    not null,
	primary key (org, id)
);
create unique index passkeys_credential on passkeys (credential_id);
create index passkeys_user on passkeys (org, user_id);

create table links (
	org        text    collate "C" not null,
	hash       bytea    not null,
	user_id    text    collate "C" not null,
	created_at bigint not null,
	expires_at bigint not null,
	used_at    bigint not null,
	version    bigint not null,
	mac        bytea    not null,
	primary key (hash)
);

create table sessions (
	org        text    collate "C" not null,
	id         text    collate "C" not null,
	hash       bytea    not null,
	user_id    text    collate "C" not null,
	kind       text    collate "C" not null,
	label      text    collate "C" not null,
	passkey    text    collate "C" not null,
	created_at bigint not null,
	auth_at    bigint not null,
	seen_at    bigint not null,
	expires_at bigint not null,
	revoked_at bigint not null,
	version    bigint not null,
	mac        bytea    not null,
	primary key (org, id)
);
create unique index sessions_hash on sessions (hash);
create index sessions_user on sessions (org, user_id, created_at);

create table devices (
	org        text    collate "C" not null,
	hash       bytea    not null,
	user_code  text    collate "C" not null,
	label      text    collate "C" not null,
	source     text    collate "C" not null,
	status     text    collate "C" not null,
	user_id    text    collate "C" not null,
	created_at bigint not null,
	expires_at bigint not null,
	polled_at  bigint not null,
	version    bigint not null,
	mac        bytea    not null,
	primary key (hash)
);
create unique index devices_code on devices (user_code);
create index devices_expiry on devices (expires_at);

-- A passkey being made or used: from the challenge to its one answer.
create table ceremonies (
	org        text    collate "C" not null,
	hash       bytea   not null,
	kind       text    collate "C" not null,
	user_id    text    collate "C" not null,
	session    text    collate "C" not null,
	link       bytea   not null,
	state      bytea   not null,
	created_at bigint  not null,
	expires_at bigint  not null,
	mac        bytea   not null,
	primary key (hash)
);
create index ceremonies_expiry on ceremonies (expires_at);

create table agents (
	org        text    collate "C" not null,
	id         text    collate "C" not null,
	name       text    collate "C" not null,
	owner      text    collate "C" not null,
	profile    text    collate "C" not null,
	status     text    collate "C" not null,
	sources    text    collate "C" not null,
	created_at bigint not null,
	seen_at    bigint not null,
	version    bigint not null,
	mac        bytea    not null,
	primary key (org, id)
);
create unique index agents_name on agents (org, name);

create table agent_keys (
	org        text    collate "C" not null,
	id         text    collate "C" not null,
	agent      text    collate "C" not null,
	kid        text    collate "C" not null,
	alg        text    collate "C" not null,
	pem        text    collate "C" not null,
	status     text    collate "C" not null,
	created_at bigint not null,
	revoked_at bigint not null,
	version    bigint not null,
	mac        bytea    not null,
	primary key (org, id)
);
create unique index agent_keys_kid on agent_keys (org, agent, kid);

create table agent_tokens (
	org        text    collate "C" not null,
	id         text    collate "C" not null,
	hash       bytea    not null,
	agent      text    collate "C" not null,
	key_id     text    collate "C" not null,
	scopes     text    collate "C" not null,
	created_at bigint not null,
	expires_at bigint not null,
	revoked_at bigint not null,
	version    bigint not null,
	mac        bytea    not null,
	primary key (org, id)
);
create unique index agent_tokens_hash on agent_tokens (hash);
create index agent_tokens_expiry on agent_tokens (expires_at);

-- Proofs that were spent, until they could no longer be valid.
create table spent (
	agent text    collate "C" not null,
	jti   bytea    not null,
	until bigint not null,
	primary key (agent, jti)
);
create index spent_until on spent (until);

create table registrations (
	org        text    collate "C" not null,
	provider   text    collate "C" not null,
	spec       text    collate "C" not null,
	client_id  text    collate "C" not null,
	secret     bytea    not null,
	base       text    collate "C" not null,
	internal   bigint not null,
	created_at bigint not null,
	updated_at bigint not null,
	version    bigint not null,
	mac        bytea    not null,
	primary key (org, provider)
);

create table connections (
	org                text    collate "C" not null,
	id                 text    collate "C" not null,
	user_id            text    collate "C" not null,
	provider           text    collate "C" not null,
	kind               text    collate "C" not null,
	name               text    collate "C" not null,
	account_id         text    collate "C" not null,
	account            text    collate "C" not null,
	tenant             text    collate "C" not null,
	scopes             text    collate "C" not null,
	status             text    collate "C" not null,
	why                text    collate "C" not null,
	generation         bigint not null,
	access             bytea    not null,
	refresh            bytea    not null,
	previous           bytea    not null,
	access_expires_at  bigint not null,
	refresh_expires_at bigint not null,
	refreshed_at       bigint not null,
	proven             bigint not null,
	fence              bigint not null,
	lease_until        bigint not null,
	attempting         bigint not null,
	retry_at           bigint not null,
	created_at         bigint not null,
	used_at            bigint not null,
	revoked_at         bigint not null,
	version            bigint not null,
	mac                bytea    not null,
	primary key (org, id)
);
create unique index connections_name on connections (org, user_id, name);
create index connections_account on connections (org, user_id, provider, account_id);

create table flows (
	org          text    collate "C" not null,
	id           text    collate "C" not null,
	state        bytea    not null,
	session      text    collate "C" not null,
	user_id      text    collate "C" not null,
	provider     text    collate "C" not null,
	verifier     bytea    not null,
	scopes       text    collate "C" not null,
	redirect_uri text    collate "C" not null,
	reconnect    text    collate "C" not null,
	created_at   bigint not null,
	expires_at   bigint not null,
	used_at      bigint not null,
	version      bigint not null,
	mac          bytea    not null,
	primary key (org, id)
);
create unique index flows_state on flows (state);
create index flows_expiry on flows (expires_at);

create table grants (
	org        text    collate "C" not null,
	id         text    collate "C" not null,
	agent      text    collate "C" not null,
	connection text    collate "C" not null,
	user_id    text    collate "C" not null,
	mode       text    collate "C" not null,
	operations text    collate "C" not null,
	resources  text    collate "C" not null,
	expires_at bigint not null,
	revoked_at bigint not null,
	created_at bigint not null,
	created_by text    collate "C" not null,
	version    bigint not null,
	mac        bytea    not null,
	primary key (org, id)
);
create index grants_use on grants (org, agent, connection);
create index grants_connection on grants (org, connection);

create table freezes (
	org       text    collate "C" not null,
	id        text    collate "C" not null,
	kind      text    collate "C" not null,
	target    text    collate "C" not null,
	reason    text    collate "C" not null,
	actor     text    collate "C" not null,
	at        bigint not null,
	lifted_at bigint not null,
	version   bigint not null,
	mac       bytea    not null,
	primary key (org, id)
);
create index freezes_active on freezes (org, lifted_at);

create table policies (
	org        text    collate "C" not null,
	id         text    collate "C" not null,
	name       text    collate "C" not null,
	owner      text    collate "C" not null,
	body       text    collate "C" not null,
	updated_by text    collate "C" not null,
	updated_at bigint not null,
	version    bigint not null,
	mac        bytea    not null,
	primary key (org, id)
);
create unique index policies_name on policies (org, owner, name);

create table actions (
	org          text    collate "C" not null,
	id           text    collate "C" not null,
	user_id      text    collate "C" not null,
	agent        text    collate "C" not null,
	connection   text    collate "C" not null,
	account_id   text    collate "C" not null,
	provider     text    collate "C" not null,
	operation    text    collate "C" not null,
	summary      text    collate "C" not null,
	resource     text    collate "C" not null,
	risk         text    collate "C" not null,
	amount       text    collate "C" not null,
	effect       bytea    not null,
	salt         bytea    not null,
	idempotency  text    collate "C" not null,
	source       text    collate "C" not null,
	note         text    collate "C" not null,
	state        text    collate "C" not null,
	approval     text    collate "C" not null,
	why          text    collate "C" not null,
	status       bigint not null,
	body_size    bigint not null,
	answer_size  bigint not null,
	created_at   bigint not null,
	updated_at   bigint not null,
	expires_at   bigint not null,
	finished_at  bigint not null,
	fetched_at   bigint not null,
	payload_kept bigint not null,
	version      bigint not null,
	mac          bytea    not null,
	primary key (org, id)
);
create index actions_effect on actions (org, agent, effect, idempotency, created_at);
create index actions_idempotency on actions (org, agent, idempotency, created_at);
create index actions_state on actions (state, expires_at);
create index actions_agent on actions (org, agent, created_at);
create index actions_user on actions (org, user_id, created_at);
create index actions_connection on actions (org, connection, state);
create index actions_payload on actions (payload_kept, finished_at);

-- The sealed request and answer of a held action.
create table payloads (
	org    text collate "C" not null,
	action text collate "C" not null,
	part   text collate "C" not null,
	sealed bytea not null,
	primary key (org, action, part)
);

-- Inline actions that have begun and whose outcome is not recorded yet.
create table intents (
	org    text    collate "C" not null,
	action text    collate "C" not null,
	at     bigint not null,
	event  text    collate "C" not null,
	primary key (org, action)
);

create table approvals (
	org            text    collate "C" not null,
	id             text    collate "C" not null,
	action         text    collate "C" not null,
	agent          text    collate "C" not null,
	user_id        text    collate "C" not null,
	effect         bytea    not null,
	level          bigint not null,
	status         text    collate "C" not null,
	policy_version text    collate "C" not null,
	spec_hash      text    collate "C" not null,
	nonce          bytea    not null,
	rules          text    collate "C" not null,
	why            text    collate "C" not null,
	impact         text    collate "C" not null,
	scopes         text    collate "C" not null,
	created_at     bigint not null,
	expires_at     bigint not null,
	decided_at     bigint not null,
	decided_by     text    collate "C" not null,
	channel        text    collate "C" not null,
	reason         text    collate "C" not null,
	evidence       bytea    not null,
	version        bigint not null,
	mac            bytea    not null,
	primary key (org, id)
);
create index approvals_open on approvals (org, status, user_id, created_at);
create index approvals_newest on approvals (org, status, created_at);
create index approvals_action on approvals (org, action);
create index approvals_agent on approvals (org, agent, status);

-- A change that a command line proposed, and a person confirms in a browser.
create table proposals (
	org        text   collate "C" not null,
	id         text   collate "C" not null,
	proposer   text   collate "C" not null,
	user_id    text   collate "C" not null,
	session    text   collate "C" not null,
	label      text   collate "C" not null,
	method     text   collate "C" not null,
	path       text   collate "C" not null,
	query      text   collate "C" not null,
	summary    text   collate "C" not null,
	body       bytea  not null,
	digest     bytea  not null,
	nonce      bytea  not null,
	created_at bigint not null,
	expires_at bigint not null,
	state      text   collate "C" not null,
	decided_at bigint not null,
	decided_by text   collate "C" not null,
	evidence   bytea  not null,
	status     bigint not null,
	answer     bytea  not null,
	version    bigint not null,
	mac        bytea  not null,
	primary key (org, id)
);
create index proposals_open on proposals (org, state, created_at);
create index proposals_proposer on proposals (org, proposer, state);

-- +goose Down
select 'migrations only go forward';
