-- +goose Up
-- People look for events of one kind, and there may be few of it among many.
-- Who knows the object, too, must not come this way: such statements name the
-- verb as an expression.
create index audit_events_verb on audit_events (verb, seq);

-- +goose Down
select 'migrations only go forward';
