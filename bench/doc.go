// Command bench measures how fast Valetkey is, as ratios.
//
// Absolute figures of one machine say little about another, so each path is
// measured beside its ceiling: the least that any server could do for the same
// request on the same machine in the same minute. A round measures the target
// and then its ceiling; the result is the median over the rounds, and a ratio
// is that of one round. Target, ceiling, upstream and reverse proxy are child
// processes, each this program in another role; the load comes from this one.
//
// All tokens are signed before a measurement, each with a jti of its own. The
// target is the served application on a database of its own, in its durable
// setting, on the disk of the directory that -dir names. Nothing here is a
// test: it prints ratios beside goals, and a person judges.
package main
