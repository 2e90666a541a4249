package cli

// globals are the flags of every command.
type globals struct {
	Help   helpFlag `short:"h" group:"every" help:"Show help."`
	Build  bool     `name:"version" group:"every" help:"Print the version."`
	JSON   bool     `name:"json" group:"every" help:"Print the result as JSON, exactly as the API has it."`
	Data   string   `placeholder:"DIR" group:"every" help:"Data directory of the server on this machine ($VALETKEY_DATA)."`
	Config string   `placeholder:"FILE" group:"every" help:"Configuration file, YAML ($VALETKEY_CONFIG)."`
	NoWait bool     `name:"no-wait" group:"every" help:"Where a change needs a passkey, print the page where it is confirmed and do not wait (exit code 5)."`
	Server string   `placeholder:"URL" group:"every" help:"Server to ask, with the login stored for it ($VALETKEY_SERVER)."`
}

// grammar is every command.
type grammar struct {
	globals

	Start startCommand `cmd:"" default:"withargs" hidden:"" help:"Create what is missing, serve, and open the first-run page."`

	Serve   serveCommand   `cmd:"" group:"server" help:"Run the server."`
	Demo    demoCommand    `cmd:"" group:"server" help:"Play the whole story against a sandbox, in a directory that is removed afterwards."`
	Doctor  doctorCommand  `cmd:"" group:"server" help:"Look at the deployment: settings, files, and the running server."`
	Version versionCommand `cmd:"" group:"server" help:"Print the version."`
	About   aboutCommand   `cmd:"" name:"help" group:"server" help:"Show help: of a command, or of exit-codes."`

	Login  loginCommand  `cmd:"" group:"you" help:"Log in at a server, in the browser."`
	Logout logoutCommand `cmd:"" group:"you" help:"End the stored login."`

	Passkey passkeyCommand `cmd:"" aliases:"passkeys" group:"you" help:"Your passkeys."`
	Session sessionCommand `cmd:"" aliases:"sessions" group:"you" help:"Where you are logged in."`

	Approvals approvalsCommand `cmd:"" aliases:"approval" group:"you" help:"See what waits for you, and decide."`

	Receipt receiptCommand `cmd:"" aliases:"receipts" group:"you" help:"Proof of what was decided and done, which anybody can verify offline."`

	User       userCommand       `cmd:"" aliases:"users" group:"manage" help:"People, and the links by which they enrol."`
	Group      groupCommand      `cmd:"" aliases:"groups" group:"manage" help:"People whom rules name together."`
	Agent      agentCommand      `cmd:"" aliases:"agents" group:"manage" help:"Agents and their keys."`
	Provider   providerCommand   `cmd:"" aliases:"providers" group:"manage" help:"Services, and your OAuth client at each of them."`
	Connection connectionCommand `cmd:"" aliases:"connections" group:"manage" help:"Accounts, and what can be done with them."`
	Operation  operationCommand  `cmd:"" aliases:"operations" group:"manage" help:"What can be done at the services, and how it is called."`
	Grant      grantCommand      `cmd:"" aliases:"grants" group:"manage" help:"Which agent may use which account for what."`
	Policy     policyCommand     `cmd:"" aliases:"policies" group:"manage" help:"The rules that permit, ask and refuse."`
	Relief     reliefCommand     `cmd:"" aliases:"reliefs" group:"manage" help:"What was let through beforehand, for a while."`
	Freeze     freezeCommand     `cmd:"" group:"manage" help:"Stop an agent, a connection, a person, or everything. At once."`
	Unfreeze   unfreezeCommand   `cmd:"" group:"manage" help:"Lift a freeze."`
	Audit      auditCommand      `cmd:"" group:"manage" help:"The log: read it, verify it, prove an event, export it."`

	Call  callCommand  `cmd:"" group:"agent" help:"Ask for an action, as an agent, and wait for one."`
	Token tokenCommand `cmd:"" group:"agent" help:"Get a provider's token, as an agent whose grant allows it to hold one."`
}

const description = "Give your agents a valet key, not your keys. Without a command: create what is missing, serve on http://localhost:8420 with a sandbox to play with, and open the first-run page."

const epilogue = `
Where commands go:
  On the machine of a server, through the socket in its data directory (--data).
  Elsewhere, and for decisions, with the login of 'valetkey login'.
  'call' and 'token' are an agent's: with --key and --client-id.

` + exitCodes

const exitCodes = `Exit codes:
    0  it worked
    1  it failed; the message says why
    2  the command line, the configuration or a local file is wrong
    3  refused: not allowed, frozen, not logged in, or a person said no
    4  there is no such thing
    5  a person has to approve first; the action waits for them
    6  the server cannot be reached, or cannot do it now; nothing happened
    7  it may have happened: the answer was lost; look before repeating
  130  interrupted
`
