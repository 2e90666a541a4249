package dash

import (
	"maps"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
)

// telling is how a kind of event is told. Words in braces are filled in: who,
// agent, account, what (the operation), it (the object), and members of the
// event's data by their names.
type telling struct{ text, tone string }

// tellings is the whole vocabulary of the log. A verb that is missing is told
// by its name: an event is never left out because we have no sentence for it.
var tellings = map[string]telling{
	"action.held":      {"{agent} asks: {what}, as {account}", "ask"},
	"action.approved":  {"{who} approved: {what}, as {account}", "good"},
	"action.denied":    {"{who} said no: {what}, as {account}", "bad"},
	"action.executing": {"Valetkey sends for {agent}: {what}, as {account}", ""},
	"action.succeeded": {"Done for {agent}: {what}, as {account} (HTTP {status})", "good"},
	"action.failed":    {"Failed for {agent}: {what}, as {account} ({status}{why})", "bad"},
	"action.unknown":   {"Nobody knows whether it happened: {what}, as {account}", "bad"},
	"action.expired":   {"Nobody answered in time: {what}, as {account}", ""},
	"action.cancelled": {"{agent} took back: {what}, as {account}", ""},
	"action.revoked":   {"Stopped before it was sent: {what}, as {account} ({why})", "bad"},
	"action.reasked":   {"Asked again, because {why}: {what}, as {account}", "ask"},
	"action.retried":   {"Tried again, because nothing had left: {what}, as {account}", ""},
	"action.refused":   {"A request of {who} was refused before anything was sent ({reason})", "bad"},

	"approval.opened":    {"A person is asked {level}", "ask"},
	"approval.granted":   {"{who} answered yes, {seconds} s after the question", "good"},
	"approval.voted":     {"{who} answered yes, {votes} of {quorum} who have to, {seconds} s after the question", ""},
	"approval.denied":    {"{who} answered no, {seconds} s after the question", "bad"},
	"approval.spent":     {"The yes was used up: it counts once", ""},
	"approval.expired":   {"The question, or the yes to it, ran out of time", ""},
	"approval.withdrawn": {"The question was withdrawn ({why})", ""},
	"preview.read":       {"{who} looked at what is there now: {what}, as {account}", ""},
	"approval.refused":   {"An answer of {who} was refused ({reason})", "bad"},

	"agent.registered":      {"{who} registered the agent {it}", ""},
	"agent.key_added":       {"{who} gave {agent} a key", ""},
	"agent.key_revoked":     {"{who} retired a key of {agent}", ""},
	"agent.suspended":       {"{who} suspended {it}", "bad"},
	"agent.resumed":         {"{who} let {it} go on", "good"},
	"agent.profile_changed": {"{who} changed the profile of {it} from {from} to {to}", ""},
	"agent.sources_changed": {"{who} changed where {it} may come from: {sources}", ""},

	"token.issued":         {"{who} got an access token for this server", ""},
	"token.revoked":        {"{who} gave back an access token", ""},
	"token.revoke_unknown": {"{who} gave back a token that is not its own", ""},
	"token.vended":         {"{who} was given a token of {account}", ""},
	"token.refused":        {"{who} was refused an access token for this server ({reason})", "bad"},
	"exchange.refused":     {"{who} was refused a token of an account ({reason})", "bad"},
	"api.refused":          {"A request of {who} to the API was refused ({reason})", "bad"},

	"user.created":        {"{who} added {it}", ""},
	"user.link_created":   {"{who} made an enrolment link for {it}", ""},
	"user.links_voided":   {"{who} made every open enrolment link of {it} worthless", ""},
	"user.role_changed":   {"{who} changed the role of {it} from {from} to {to}", "ask"},
	"recovery.codes_made": {"{who} made new recovery codes; those before are worthless", ""},
	"recovery.used":       {"A recovery code of {who} was used, from {source}: they may make a passkey", "ask"},
	"recovery.refused":    {"A recovery code was refused ({reason})", "bad"},
	"identity.linked":     {"{who} linked the account {label} at {issuer}, to log in by it", "ask"},
	"identity.unlinked":   {"{who} unlinked the account {label}", ""},
	"identity.asserted":   {"{who} logged in anew at {issuer}, for one decision", ""},
	"signin.refused":      {"A login by the identity provider was refused to {who} ({reason})", "bad"},
	"passkey.renamed":     {"{who} renamed a passkey from {from} to {to}", ""},
	"user.renamed":        {"{from} is now called {to}", ""},
	"user.suspended":      {"{who} suspended {it}", "bad"},
	"user.resumed":        {"{who} let {it} back in", "good"},

	"group.created":        {"{who} made the group {name} of people", ""},
	"group.member_added":   {"{who} put somebody into the group {name}", ""},
	"group.member_removed": {"{who} took somebody out of the group {name}", ""},

	"passkey.enrolled":        {"{who} added a passkey", ""},
	"passkey.removed":         {"{who} removed a passkey", ""},
	"passkey.refused":         {"{who} could not remove a passkey ({reason})", "bad"},
	"passkey.asserted":        {"{who} used a passkey", ""},
	"passkey.clone_suspected": {"A passkey answered out of order: there may be a copy of it", "bad"},
	"session.opened":          {"{who} logged in", ""},
	"session.confirmed":       {"{who} proved to be present, with a passkey", ""},
	"operator.looked":         {"{who} looked at {looked}, on the server's machine", ""},
	"session.closed":          {"{who} logged out", ""},
	"login.refused":           {"A login was refused ({reason})", "bad"},
	"enrolment.refused":       {"An enrolment was refused ({reason})", "bad"},
	"presence.refused":        {"A passkey's answer was refused ({reason})", "bad"},
	"page.refused":            {"A change by {who} was refused ({reason})", "bad"},
	"device.begun":            {"A terminal asks to be logged in: {label}", "ask"},
	"device.approved":         {"{who} logged in a terminal: {label}", ""},
	"device.denied":           {"{who} refused to log in a terminal: {label}", "bad"},
	"device.refused":          {"A code for a terminal was refused ({reason})", "bad"},
	"refusals.counted":        {"{count} more requests of unknown callers were refused", "bad"},

	"connection.begun":               {"{who} went to {provider} to connect an account", ""},
	"connection.probing":             {"{who} pasted a token of {provider}, which is looked at", ""},
	"connection.completing":          {"{who} came back from {provider}, whose tokens are fetched", ""},
	"connection.failed":              {"{provider} gave tokens to {who}, but nothing was connected ({reason})", "bad"},
	"connection.created":             {"{who} connected {it}", "good"},
	"connection.renewed":             {"{who} renewed {it}", "good"},
	"connection.refresh_started":     {"The tokens of {it} are renewed", ""},
	"connection.refreshed":           {"The tokens of {it} were renewed", ""},
	"connection.refresh_failed":      {"The tokens of {it} could not be renewed", "bad"},
	"connection.needs_reauth":        {"{it} needs a new login", "bad"},
	"connection.revoked":             {"{who} disconnected {it}", "bad"},
	"connection.previews_shared":     {"{who} said who sees through {it} what an action would change: {with}", ""},
	"connection.ended":               {"The tokens of {it} were destroyed here", ""},
	"connection.late_tokens_revoked": {"Tokens of {it} that came after its end were given back", ""},

	"payloads.shredded": {"The requests and answers of {day} were destroyed here", ""},

	"grant.created":   {"{who} lets {agent} use {account}", "good"},
	"grant.revoked":   {"{who} no longer lets {agent} use {account}", "bad"},
	"relief.given":    {"{who} lets {agent} do {operation} on {resource} {most} more times without asking", ""},
	"relief.used":     {"Let through without asking, {used} of {most} times: a relief of {agent}", ""},
	"relief.revoked":  {"{who} ended a relief of {agent}, used {used} times", ""},
	"provider.set":    {"{who} configured the provider {it}", ""},
	"policy.saved":    {"{who} saved the policy {name}", ""},
	"freeze.thrown":   {"{who} froze {frozen}", "bad"},
	"freeze.replayed": {"A freeze that could not be written down before is in the log", "bad"},
	"freeze.lifted":   {"{who} lifted the freeze of {frozen}", "good"},

	"proposal.opened":    {"{who} proposed a change from a command line: {method} {path}", "ask"},
	"proposal.confirmed": {"{who} confirmed with a passkey what a command line proposed: {method} {path}", "good"},
	"proposal.refused":   {"{who} refused what a command line proposed: {method} {path}", "bad"},
	"proposal.expired":   {"Nobody confirmed in time what a command line proposed: {method} {path}", ""},
	"proposal.finished":  {"What a command line proposed was answered with HTTP {status}", ""},
}

// eventView tells an event to a person.
func eventView(n *names, e audit.Event) Event {
	v := Event{Seq: e.Seq, At: e.At, Verb: e.Verb, Actor: n.actor(e.Actor), Object: n.object(e.Object), Fold: foldKey(e), Effect: e.Data["effect"] != ""}
	for _, name := range slices.Sorted(maps.Keys(e.Data)) {
		v.Data = append(v.Data, Field{name, e.Data[name]})
	}
	// Only what was held has a page: of what ran at once the log is all there is.
	if strings.HasPrefix(e.Object, "act_") && e.Data["approval"] != "" {
		v.ObjectID = e.Object
	} else if id.Valid("act", e.Data["action"]) {
		v.ObjectID = e.Data["action"]
	}
	t, ok := tellings[e.Verb]
	if e.Verb == "page.refused" && e.Data["reason"] == errCancelled.Reason && e.Data["provider"] != "" {
		t = telling{"{who} cancelled at {provider}; nothing was connected", ""}
	}
	if !ok {
		v.Sentence = v.Actor + ": " + strings.NewReplacer(".", " ", "_", " ").Replace(e.Verb)
		return v
	}
	v.Sentence, v.Tone = fill(t.text, func(word string) string { return filled(n, e, v, word) }), t.tone
	// A name stands as its owner writes it, also at the beginning.
	kind, _, _ := strings.Cut(e.Actor, ":")
	if !strings.HasPrefix(t.text, "{") || strings.HasPrefix(t.text, "{who}") && kind != "user" && kind != "agent" {
		v.Sentence = sentence(v.Sentence)
	}
	if strings.HasPrefix(e.Verb, "action.") && e.Data["inline"] != "" {
		v.Tone = ""
	}
	return v
}

func filled(n *names, e audit.Event, v Event, word string) string {
	switch word {
	case "who":
		return v.Actor
	case "it":
		return v.Object
	case "agent":
		return n.agent(id.Agent(first(e.Data["agent"], strings.TrimPrefix(e.Actor, "agent:")))).Name
	case "account":
		a := n.connection(id.Connection(first(e.Data["connection"], e.Object)))
		return a.Account + " on " + a.Provider
	case "what":
		return n.does(e)
	case "provider":
		return n.provider(e.Data["provider"])
	case "frozen":
		if e.Data["kind"] == "all" {
			return "everything"
		}
		return n.object(e.Data["target"])
	case "why", "reason":
		return plainWhy(e.Data[word])
	case "level":
		if e.Data["level"] == "2" {
			return "for a touch of the passkey"
		}
		return "for a yes or no"
	case "looked":
		return lookedAt(e.Data["route"])
	case "status":
		if e.Verb == "action.failed" && e.Data["status"] != "" {
			return "HTTP " + e.Data["status"] + " "
		}
	}
	return e.Data[word]
}

// lookedAt says what a route of the API shows: "GET /v1/admin/agents/{agent}" is
// one of the agents.
func lookedAt(route string) string {
	_, path, _ := strings.Cut(route, " ")
	path = strings.TrimPrefix(strings.TrimPrefix(path, "/v1/"), "admin/")
	what, rest, _ := strings.Cut(path, "/")
	what = strings.ReplaceAll(what, "-", " ")
	switch {
	case what == "":
		return "something"
	case strings.HasPrefix(rest, "{"):
		return "one of the " + what
	}
	return "the " + what
}

// lower begins a title with a small letter, unless it begins with a name.
func lower(s string) string {
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'a' && s[1] <= 'z' {
		return string(s[0]+'a'-'A') + s[1:]
	}
	return s
}

// fill replaces each {word}. Values are not looked at again.
func fill(text string, value func(string) string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "{")
		b.WriteString(before)
		word, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			return strings.ReplaceAll(strings.ReplaceAll(b.String(), " ()", ""), " )", ")")
		}
		b.WriteString(value(word))
		text = after
	}
}
