// Package storetest is the suite that every database engine of package store
// has to pass, and the databases to run it on.
//
// A [Database] is a fresh, empty database of one test: a file, or a database
// in a [Cluster], which is a PostgreSQL server started by the test binary and
// gone with it. [Run] runs the suite. Its parts:
//
//   - every noun is stored and read back whole, field by field;
//   - every change commits together with its events or not at all;
//   - of many who want the same single thing, one gets it, also when two
//     replicas are asked;
//   - every row that carries authority is refused when any column of it was
//     changed behind the store's back.
//
// The package opens databases and judges them; it has no rules of its own
// about what is stored.
package storetest
