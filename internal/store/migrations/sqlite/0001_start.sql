-- +goose Up
create table authority (
	id    integer not null primary key check (id = 1),
	epoch integer not null
);
insert into authority (id, epoch) values (1, 1);

-- The audit log: one tree for the deployment.
create table audit_head (
	id   integer not null primary key check (id = 1),
	size integer not null,
	root blob    not null
);
insert into audit_head (id, size, root)
values (1, 0, x'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
create table audit_events (
	seq     integer not null primary key,
	at      integer not null,
	org     text    not null,
	verb    text    not null,
	actor   text    not null,
	object  text    not null,
	subject text    not null,
	leaf    text    not null
);
create index audit_events_object on audit_events (object, seq);
create index audit_events_actor on audit_events (actor, seq);
create table audit_hashes (
	idx  integer not null primary key,
	hash blob    not null
);

create table data_keys (
	name    text not null primary key,
	wrapped blob not null
);

create table users (
	org        text    not null,
	id         text    not null,
	name       text    not null,
	role       text    not null,
	status     text    not null,
	handle     blob    not null,
	created_at integer not null,
	version    integer not null,
	mac        blob    not null,
	primary key (org, id)
);
create unique index users_name on users (org, name);
create unique index users_handle on users (handle);

create table passkeys (
	org           text    not null,
	id            text    not null,
	user_id       text    not null,
	credential_id blob    not null,
	name          text    not null,
	credential    blob    not null,
	created_at    integer not null,
	used_at       integer not null,
	version       integer not null,
	mac           blob    not null,
	primary key (org, id)
);
create unique index passkeys_credential on passkeys (credential_id);
create index passkeys_user on passkeys (org, user_id);

create table links (
	org        text    not null,
	hash       blob    not null,
	user_id    text    not null,
	created_at integer not null,
	expires_at integer not null,
	used_at    integer not null,
	version    integer not null,
	mac        blob    not null,
	primary key (hash)
);

create table sessions (
	org        text    not null,
	id         text    not null,
	hash       blob    not null,
	user_id    text    not null,
	kind       text    not null,
	label      text    not null,
	passkey    text    not null,
	created_at integer not null,
	auth_at    integer not null,
	seen_at    integer not null,
	expires_at integer not null,
	revoked_at integer not null,
	version    integer not null,
	mac        blob    not null,
	primary key (org, id)
);
create unique index sessions_hash on sessions (hash);
create index sessions_user on sessions (org, user_id, created_at);

create table devices (
	org        text    not null,
	hash       blob    not null,
	user_code  text    not null,
	label      text    not null,
	source     text    not null,
	status     text    not null,
	user_id    text    not null,
	created_at integer not null,
	expires_at integer not null,
	polled_at  integer not null,
	version    integer not null,
	mac        blob    not null,
	primary key (hash)
);
create unique index devices_code on devices (user_code);
create index devices_expiry on devices (expires_at);

-- A passkey being made or used: from the challenge to its one answer.
create table ceremonies (
	org        text    not null,
	hash       blob    not null,
	kind       text    not null,
	user_id    text    not null,
	session    text    not null,
	link       blob    not null,
	state      blob    not null,
	created_at integer not null,
	expires_at integer not null,
	mac        blob    not null,
	primary key (hash)
);
create index ceremonies_expiry on ceremonies (expires_at);

create table agents (
	org        text    not null,
	id         text    not null,
	name       text    not null,
	owner      text    not null,
	profile    text    not null,
	status     text    not null,
	sources    text    not null,
	created_at integer not null,
	seen_at    integer not null,
	version    integer not null,
	mac        blob    not null,
	primary key (org, id)
);
create unique index agents_name on agents (org, name);

create table agent_keys (
	org        text    not null,
	id         text    not null,
	agent      text    not null,
	kid        text    not null,
	alg        text    not null,
	pem        text    not null,
	status     text    not null,
	created_at integer not null,
	revoked_at integer not null,
	version    integer not null,
	mac        blob    not null,
	primary key (org, id)
);
create unique index agent_keys_kid on agent_keys (org, agent, kid);

create table agent_tokens (
	org        text    not null,
	id         text    not null,
	hash       blob    not null,
	agent      text    not null,
	key_id     text    not null,
	scopes     text    not null,
	created_at integer not null,
	expires_at integer not null,
	revoked_at integer not null,
	version    integer not null,
	mac        blob    not null,
	primary key (org, id)
);
create unique index agent_tokens_hash on agent_tokens (hash);
create index agent_tokens_expiry on agent_tokens (expires_at);

-- Proofs that were spent, until they could no longer be valid.
create table spent (
	agent text    not null,
	jti   blob    not null,
	until integer not null,
	primary key (agent, jti)
) without rowid;
create index spent_until on spent (until);

create table registrations (
	org        text    not null,
	provider   text    not null,
	spec       text    not null,
	client_id  text    not null,
	secret     blob    not null,
	base       text    not null,
	internal   integer not null,
	created_at integer not null,
	updated_at integer not null,
	version    integer not null,
	mac        blob    not null,
	primary key (org, provider)
);

create table connections (
	org                text    not null,
	id                 text    not null,
	user_id            text    not null,
	provider           text    not null,
	kind               text    not null,
	name               text    not null,
	account_id         text    not null,
	account            text    not null,
	tenant             text    not null,
	scopes             text    not null,
	status             text    not null,
	why                text    not null,
	generation         integer not null,
	access             blob    not null,
	refresh            blob    not null,
	previous           blob    not null,
	access_expires_at  integer not null,
	refresh_expires_at integer not null,
	refreshed_at       integer not null,
	proven             integer not null,
	fence              integer not null,
	lease_until        integer not null,
	attempting         integer not null,
	retry_at           integer not null,
	created_at         integer not null,
	used_at            integer not null,
	revoked_at         integer not null,
	version            integer not null,
	mac                blob    not null,
	primary key (org, id)
);
create unique index connections_name on connections (org, user_id, name);
create index connections_account on connections (org, user_id, provider, account_id);

create table flows (
	org          text    not null,
	id           text    not null,
	state        blob    not null,
	session      text    not null,
	user_id      text    not null,
	provider     text    not null,
	verifier     blob    not null,
	scopes       text    not null,
	redirect_uri text    not null,
	reconnect    text    not null,
	created_at   integer not null,
	expires_at   integer not null,
	used_at      integer not null,
	version      integer not null,
	mac          blob    not null,
	primary key (org, id)
);
create unique index flows_state on flows (state);
create index flows_expiry on flows (expires_at);

create table grants (
	org        text    not null,
	id         text    not null,
	agent      text    not null,
	connection text    not null,
	user_id    text    not null,
	mode       text    not null,
	operations text    not null,
	resources  text    not null,
	expires_at integer not null,
	revoked_at integer not null,
	created_at integer not null,
	created_by text    not null,
	version    integer not null,
	mac        blob    not null,
	primary key (org, id)
);
create index grants_use on grants (org, agent, connection);
create index grants_connection on grants (org, connection);

create table freezes (
	org       text    not null,
	id        text    not null,
	kind      text    not null,
	target    text    not null,
	reason    text    not null,
	actor     text    not null,
	at        integer not null,
	lifted_at integer not null,
	version   integer not null,
	mac       blob    not null,
	primary key (org, id)
);
create index freezes_active on freezes (org, lifted_at);

create table policies (
	org        text    not null,
	id         text    not null,
	name       text    not null,
	owner      text    not null,
	body       text    not null,
	updated_by text    not null,
	updated_at integer not null,
	version    integer not null,
	mac        blob    not null,
	primary key (org, id)
);
create unique index policies_name on policies (org, owner, name);

create table actions (
	org          text    not null,
	id           text    not null,
	user_id      text    not null,
	agent        text    not null,
	connection   text    not null,
	account_id   text    not null,
	provider     text    not null,
	operation    text    not null,
	summary      text    not null,
	resource     text    not null,
	risk         text    not null,
	amount       text    not null,
	effect       blob    not null,
	salt         blob    not null,
	idempotency  text    not null,
	source       text    not null,
	note         text    not null,
	state        text    not null,
	approval     text    not null,
	why          text    not null,
	status       integer not null,
	body_size    integer not null,
	answer_size  integer not null,
	created_at   integer not null,
	updated_at   integer not null,
	expires_at   integer not null,
	finished_at  integer not null,
	fetched_at   integer not null,
	payload_kept integer not null,
	version      integer not null,
	mac          blob    not null,
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
	org    text not null,
	action text not null,
	part   text not null,
	sealed blob not null,
	primary key (org, action, part)
);

-- Inline actions that have begun and whose outcome is not recorded yet.
create table intents (
	org    text    not null,
	action text    not null,
	at     integer not null,
	event  text    not null,
	primary key (org, action)
);

create table approvals (
	org            text    not null,
	id             text    not null,
	action         text    not null,
	agent          text    not null,
	user_id        text    not null,
	effect         blob    not null,
	level          integer not null,
	status         text    not null,
	policy_version text    not null,
	spec_hash      text    not null,
	nonce          blob    not null,
	rules          text    not null,
	why            text    not null,
	impact         text    not null,
	scopes         text    not null,
	created_at     integer not null,
	expires_at     integer not null,
	decided_at     integer not null,
	decided_by     text    not null,
	channel        text    not null,
	reason         text    not null,
	evidence       blob    not null,
	version        integer not null,
	mac            blob    not null,
	primary key (org, id)
);
create index approvals_open on approvals (org, status, user_id, created_at);
create index approvals_newest on approvals (org, status, created_at);
create index approvals_action on approvals (org, action);
create index approvals_agent on approvals (org, agent, status);

-- A change that a command line proposed, and a person confirms in a browser.
create table proposals (
	org        text    not null,
	id         text    not null,
	proposer   text    not null,
	user_id    text    not null,
	session    text    not null,
	label      text    not null,
	method     text    not null,
	path       text    not null,
	query      text    not null,
	summary    text    not null,
	body       blob    not null,
	digest     blob    not null,
	nonce      blob    not null,
	created_at integer not null,
	expires_at integer not null,
	state      text    not null,
	decided_at integer not null,
	decided_by text    not null,
	evidence   blob    not null,
	status     integer not null,
	answer     blob    not null,
	version    integer not null,
	mac        blob    not null,
	primary key (org, id)
);
create index proposals_open on proposals (org, state, created_at);
create index proposals_proposer on proposals (org, proposer, state);

-- +goose Down
select 'migrations only go forward';
