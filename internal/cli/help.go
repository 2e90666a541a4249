package cli

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

var errHelp = errors.New("help was shown")

// helpFlag shows help and ends the run; kong's own would end the process.
type helpFlag bool

// IgnoreDefault and BeforeReset make helpFlag act when it is parsed, before
// anything that is missing is missed.
func (helpFlag) IgnoreDefault() {}

// BeforeReset prints the help of what was named so far.
func (helpFlag) BeforeReset(ctx *kong.Context) error {
	if err := ctx.PrintUsage(false); err != nil {
		return err
	}
	return errHelp
}

func newParser(g *grammar, t *terminal) (*kong.Kong, error) {
	return kong.New(g,
		kong.Name("valetkey"),
		kong.Description(description),
		kong.Writers(t.out, t.err),
		kong.NoDefaultHelp(),
		kong.ExplicitGroups([]kong.Group{
			{Key: "server", Title: "Server:"}, {Key: "you", Title: "You:"}, {Key: "manage", Title: "What there is, and who may:"}, {Key: "agent", Title: "As an agent:"},
			{Key: "every", Title: "Flags of every command:"},
		}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, FlagsLast: true, WrapUpperBound: 110}),
		kong.Help(func(o kong.HelpOptions, ctx *kong.Context) error { return showHelp(o, ctx, t) }),
	)
}

func showHelp(o kong.HelpOptions, ctx *kong.Context, t *terminal) error {
	at := ctx.Selected()
	onceNamed(ctx.Model.Node)
	if at != nil {
		// The groups are those of the first page; below it they say nothing.
		for node := at; node != nil; node = node.Parent {
			node.Group = nil
		}
		for _, child := range at.Children {
			child.Group = nil
		}
	}
	if err := kong.DefaultHelpPrinter(o, ctx); err != nil {
		return err
	}
	switch {
	case at == nil:
		// The default command is nobody's choice: help without a command is that
		// of the whole.
		fmt.Fprint(t.out, epilogue)
	case len(at.Children) > 0:
		fmt.Fprintf(t.out, "\nRun \"valetkey %s <command> --help\" for more.\n", at.Name)
	}
	return nil
}

// onceNamed takes the other names of commands out of a model that was parsed
// with: they are taken, and not shown.
func onceNamed(node *kong.Node) {
	node.Aliases = nil
	for _, child := range node.Children {
		onceNamed(child)
	}
}

// aboutCommand is `valetkey help`: what --help shows, for those who ask so.
type aboutCommand struct {
	Words []string `arg:"" optional:"" name:"command" help:"A command, or exit-codes."`
}

func (c *aboutCommand) Run(r *run) error {
	if len(c.Words) == 1 && slices.Contains([]string{"exit-codes", "exit-code", "exit"}, c.Words[0]) {
		fmt.Fprint(r.out, exitCodes)
		return nil
	}
	var g grammar
	parser, err := newParser(&g, r.terminal)
	if err != nil {
		return fmt.Errorf("the grammar is broken: %w", err)
	}
	_, err = parser.Parse(append(slices.Clone(c.Words), "--help"))
	if errors.Is(err, errHelp) {
		return nil
	}
	return mistaken(err)
}

var (
	unexpected = regexp.MustCompile(`^unexpected argument (\S+)`)
	meant      = regexp.MustCompile(`, did you mean (?:one of )?(.*?)\??$`)
)

// mistaken puts a mistake of the grammar into words of ours: what is not
// there, what may have been meant, and where it stands.
func mistaken(err error) error {
	var parse *kong.ParseError
	if !errors.As(err, &parse) {
		return err
	}
	at := parse.Context.Selected()
	onceNamed(parse.Context.Model.Node)
	if at != nil && at.Name == "start" {
		at = nil // the default command is nobody's choice
	}
	help, node := "valetkey help", parse.Context.Model.Node
	if at != nil {
		node = at
		help = "valetkey help " + strings.TrimSpace(strings.TrimPrefix(at.FullPath(), "valetkey"))
	}
	text, next := parse.Error(), "See '"+help+"'."
	if m := meant.FindStringSubmatch(text); m != nil {
		text = strings.TrimSuffix(text, m[0])
		next = "Did you mean " + strings.ReplaceAll(m[1], ", ", " or ") + "? " + next
	}
	if m := unexpected.FindStringSubmatch(text); m != nil && len(node.Children) > 0 {
		name := strings.TrimSpace(strings.TrimPrefix(node.FullPath(), "valetkey") + " " + m[1])
		text = fmt.Sprintf("There is no command %q.", name)
		if near := nearest(m[1], commands(node)); len(near) > 0 && !strings.HasPrefix(next, "Did") {
			for i, n := range near {
				near[i] = fmt.Sprintf("%q", n)
			}
			next = "Did you mean " + strings.Join(near, " or ") + "? " + next
		}
	}
	return usage(next, "%s", sentence(text))
}

// commands are the names that may follow node.
func commands(node *kong.Node) []string {
	var out []string
	for _, child := range node.Children {
		if !child.Hidden {
			out = append(out, child.Name)
		}
	}
	return out
}
