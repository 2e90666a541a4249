// Package dash is the pages that a person sees: first run, login, inbox,
// action, connections, agents, activity, policy, device login.
//
// The model has two halves. A view struct ([ActionPage], [InboxPage], …) holds
// everything a page shows, as plain strings, numbers and times; it is filled
// from the services and knows nothing of markup. [Renderer] turns a view into
// HTML and knows nothing of the services. So what a page says can be tested
// without a server, and a page cannot ask for anything by itself.
//
// Invariants. Every text that we did not write is shown by package display
// and escaped by html/template; no template.HTML exists here. No page has an
// inline script, an inline style or a handler attribute, so that the content
// security policy of [SetHeaders] needs no exception, and Trusted Types hold
// in the browser. No state changes by GET: forms are sent by fetch as JSON
// with the session's token. Pages are readable without JavaScript; deciding
// needs it, because a button that must not be pressed by accident or by a
// prefetcher is armed by code that has seen it on the screen.
//
// The package decides nothing: it holds no rules, opens no secrets and never
// imports another edge.
package dash
