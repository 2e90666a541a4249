-- +goose Up

-- A terminal goes with the passkey that let it in. Which one that was is not
-- known of those that wait now; they are told to begin again.
delete from devices;
alter table devices add column passkey text collate "C" not null default '';
create index devices_user on devices (org, user_id, created_at);

-- Whether a passkey was removed is asked at each login, and each of its uses is
-- in the log.
create index audit_events_passkey_removed on audit_events (object) where (verb = 'passkey.removed');

-- +goose Down
select 'migrations only go forward';
