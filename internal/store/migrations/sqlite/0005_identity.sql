-- +goose Up

-- Codes that let a person who lost every passkey enrol another one.
create table recovery_codes (
	org        text    not null,
	hash       blob    not null,
	user_id    text    not null,
	created_at integer not null,
	used_at    integer not null,
	version    integer not null,
	mac        blob    not null,
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
	first      integer not null,
	created_at integer not null,
	used_at    integer not null,
	version    integer not null,
	mac        blob    not null,
	primary key (org, id)
);
create unique index identities_subject on identities (org, issuer, subject);
create index identities_user on identities (org, user_id);

-- Keys with which an identity provider was seen to sign.
create table issuer_keys (
	org        text    not null,
	issuer     text    not null,
	thumbprint text    not null,
	seen_at    integer not null,
	mac        blob    not null,
	primary key (org, issuer, thumbprint)
);

create index links_user on links (org, user_id);

-- +goose Down
select 'migrations only go forward';
