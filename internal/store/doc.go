// Package store keeps every noun in SQL: one text for SQLite and PostgreSQL.
//
// The package implements the Store interfaces that services declare and holds
// no rules of its own. Its shape:
//
//   - [DB] is an open database: engine, writer, audit head, wake-ups.
//   - Each change is a function run on the writer, in a savepoint of its own,
//     in a transaction that may carry the changes of many requests. It commits
//     together with its audit events or not at all. Change functions may run
//     twice; they do no I/O and no cryptography.
//   - Rules over several rows, which no version number guards, are confirmed
//     when the audit head is taken: from there to the commit nobody else
//     commits, so what is seen then is what the change is recorded after.
//   - On SQLite one process owns the file, by a lock beside it.
//   - A [table] describes one noun's columns once, for reading, writing and
//     authenticating. Rows that carry authority bear an HMAC over all columns,
//     checked on every load.
//
// The store never reads the clock, but for leases, which compare with the
// database's own.
package store
