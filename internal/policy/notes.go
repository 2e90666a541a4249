package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/valetkey/valetkey/internal/id"
)

// notes is what a rule's annotations say about the question it asks.
type notes struct {
	id        string
	reason    string
	approvers []string
	quorum    int
	fourEyes  bool
	expires   time.Duration
	notify    []string
}

// Bounds of what an annotation may ask for.
const (
	maxReason  = 300
	maxNames   = 32
	maxQuorum  = 16
	minExpires = time.Minute
	maxExpires = 30 * 24 * time.Hour
)

const knownNotes = "@id, @reason, @approvers, @quorum, @four_eyes, @expires and @notify"

var (
	reRuleID = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	reGroup  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	reLogin  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$`)
)

// readNotes reads annotations and complains about each it does not understand:
// a misspelt @approvers would otherwise quietly ask for less.
func readNotes(all cedar.Annotations, complain func(key, what string)) notes {
	var n notes
	for _, key := range sortedKeys(all) {
		text := string(all[types.AnnotationKey(key)])
		var err error
		switch key {
		case "id":
			n.id = text
			if !reRuleID.MatchString(text) {
				err = fmt.Errorf("`%s` is no id; it has up to 64 of a-z, 0-9, `.`, `_` and `-`", text)
			}
		case "reason":
			n.reason, err = sentence(text)
		case "approvers":
			n.approvers, err = names(text, approver)
		case "quorum":
			n.quorum, err = strconv.Atoi(text)
			if err != nil || n.quorum < 1 || n.quorum > maxQuorum {
				err = fmt.Errorf("`%s` is no quorum; it is a number from 1 to %d", text, maxQuorum)
			}
		case "four_eyes":
			n.fourEyes, err = yes(text)
		case "expires":
			n.expires, err = duration(text)
		case "notify":
			n.notify, err = names(text, target)
		default:
			err = fmt.Errorf("there is no annotation @%s; there are %s", key, knownNotes)
		}
		if err != nil {
			complain(key, err.Error())
		}
	}
	return n
}

// sentence is text that people will read on an approval's page.
func sentence(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" || utf8.RuneCountInString(s) > maxReason {
		return "", fmt.Errorf("a reason is a sentence of at most %d characters", maxReason)
	}
	for _, r := range s {
		if !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) {
			return "", fmt.Errorf("a reason has no invisible characters such as U+%04X", r)
		}
	}
	return s, nil
}

// names reads a list that commas separate.
func names(s string, valid func(string) error) ([]string, error) {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if err := valid(part); err != nil {
			return nil, err
		}
		if !slices.Contains(out, part) {
			out = append(out, part)
		}
	}
	if len(out) > maxNames {
		return nil, fmt.Errorf("at most %d names are allowed", maxNames)
	}
	return out, nil
}

func approver(s string) error {
	switch s {
	case "connection-owner", "role:owner", "role:admin", "role:member":
		return nil
	}
	if group, ok := strings.CutPrefix(s, "group:"); ok && reGroup.MatchString(group) {
		return nil
	}
	if strings.Contains(s, ":") || !reLogin.MatchString(s) || strings.HasPrefix(s, "usr_") && !id.Valid("usr", s) {
		return fmt.Errorf("`%s` is no approver; write connection-owner, role:owner, role:admin, role:member, group:NAME, a user's id or login name", s)
	}
	return nil
}

// yes reads a switch. It has no other spellings: "True" or "1" would make
// somebody wonder what "no" does.
func yes(s string) (bool, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("`%s` is neither true nor false", s)
}

func target(s string) error {
	name := strings.TrimPrefix(strings.TrimPrefix(s, "role:"), "channel:")
	if !reLogin.MatchString(name) {
		return fmt.Errorf("`%s` is nobody to notify; write role:…, channel:…, a user's id or login name", s)
	}
	return nil
}

// duration reads "45m", "4h" or "2d".
func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(min(max(n, 0), 1000)) * 24 * time.Hour
	}
	if err != nil || d < minExpires || d > maxExpires {
		return 0, fmt.Errorf("`%s` is no expiry; it is between 1m and 30d, as in 45m, 4h or 2d", s)
	}
	return d, nil
}

func sortedKeys(all cedar.Annotations) []string {
	keys := make([]string, 0, len(all))
	for k := range all {
		keys = append(keys, string(k))
	}
	slices.Sort(keys)
	return keys
}
