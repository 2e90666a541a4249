// Package risk says how much harm a request could do, and why.
//
// A [Level] is low, medium, high or critical. [Assess] begins with what the
// provider's catalogue says of the operation and goes through the facts of the
// request in a fixed order. Each [Fact] is a sentence for the approval's page;
// those that raised the level say so.
//
// What each fact does:
//
//	catalogue      the base, told in the catalogue's own words where it has
//	               any; a level outside the four counts as critical
//	not listed     a write that is not in the catalogue is at least high
//	visibility     a medium write to something public becomes high; what the
//	               catalogue calls low is harmless there too
//	default branch a write to it is at least high
//	recipients     a medium write that reaches ten or more becomes high
//	amount         a value above the threshold is at least medium, a transfer
//	               above it is critical; unknown counts as above
//	novelty        a medium write that this agent has never done on this
//	               resource becomes high. It stops there: that something is new
//	               makes a mistake likelier, not its harm greater
//	taint          a write that reaches the public or outsiders, or of which we
//	               cannot tell, goes up by one; other requests stay
//	hints          what agents, models or MCP servers say raises, never lowers
//
// Invariants: no fact lowers the level, so adding a fact never does; a read is
// raised by money and by hints only; handing out a token is as risky as the
// worst operation its scopes allow, which is the base that the caller gives.
//
// The package does no I/O, reads no clock and knows no provider. It decides
// nothing: what a level leads to is for the rules of package policy.
package risk
