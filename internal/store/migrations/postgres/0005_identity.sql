-- +goose Up

-- Codes that let a person who lost every passkey enrol another one.
create table recovery_codes (
	org        text    not null,
	hash       bytea   not null,
	user_id    text    not null,
	created_at bigint  not null,
	used_at    bigint  not null,
	version    bigint  not null,
	mac        bytea   not null,
	primary key (hash)
);
create index recovery_codes_user on recovery_codes (org, user_id);

-- Who a person is at the identity provider.
create table identities (
	org        text    not null,
	id         text    not null,
	issuer     text    not null,
	subject    text    not null,
	user_id    text    not null,
	label      text    not null,
	first      bigint  not null,
	created_at bigint  not null,
	used_at    bigint  not null,
	version    bigint  not null,
	mac        bytea   not null,
	primary key (org, id)
);
create unique index identities_subject on identities (org, issuer, subject);
create index identities_user on identities (org, user_id);

-- Keys with which an identity provider was seen to sign.
create table issuer_keys (
	org        text    not null,
	issuer     text    not null,
	thumbprint text    not null,
	seen_at    bigint  not null,
	mac        bytea   not null,
	primary key (org, issuer, thumbprint)
);

create index links_user on links (org, user_id);

-- +goose Down
select 'migrations only go forward';
