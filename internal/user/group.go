package user

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

// Group is people whom rules name together, as in @approvers("group:release").
// To be in one allows nothing by itself. A group is not deleted: rules would go
// on naming it, and whoever made it anew would be in it. It may be empty.
type Group struct {
	Org       id.Org
	ID        id.Group
	Name      string // as rules write it; unique within the org, and never changed
	Members   []id.User
	CreatedAt time.Time
	Version   int64
}

// GroupStore keeps groups. A group has one event for each version of it, so
// that an old version that was put back shows.
type GroupStore interface {
	CreateGroup(ctx context.Context, g *Group, events []audit.Event) error
	// Groups lists the groups, by name.
	Groups(ctx context.Context, org id.Org) ([]*Group, error)
	// Group finds one by its name.
	Group(ctx context.Context, org id.Org, name string) (*Group, error)
	UpdateGroup(ctx context.Context, org id.Org, g id.Group, change Change[Group]) error
}

// MaxMembers bounds a group.
const MaxMembers = 200

// Errors about groups.
var (
	ErrGroup     = fault.New(fault.NotFound, "group_not_found", "There is no such group.")
	errGroupName = fault.New(fault.Invalid, "bad_name", "The name of a group has 1 to 63 of a-z, 0-9, dot, hyphen and underscore.")
	errGroupMade = fault.New(fault.Conflict, "name_taken", "There is a group of that name already.")
	errMembers   = fault.New(fault.Invalid, "bad_members", "A group has at most "+strconv.Itoa(MaxMembers)+" members, each of whom exists.")
)

var reGroup = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Has reports whether who is in g.
func (g *Group) Has(who id.User) bool { return slices.Contains(g.Members, who) }

// CreateGroup makes a group. Owners and admins may, with a fresh passkey: who
// is in it may come to decide.
func (s *Service) CreateGroup(ctx context.Context, by Principal, name string, members []id.User, now time.Time) (*Group, error) {
	if err := s.mayGroup(by, now); err != nil {
		return nil, err
	}
	if !reGroup.MatchString(name) {
		return nil, errGroupName
	}
	members, err := s.members(ctx, members)
	if err != nil {
		return nil, err
	}
	g := &Group{Org: s.Org, ID: id.NewGroup(), Name: name, Members: members, CreatedAt: now, Version: 1}
	err = s.Store.Groups().CreateGroup(ctx, g, []audit.Event{by.Event("group.created", string(g.ID), "", now, map[string]string{
		"name": name, "version": "1", "members": strconv.Itoa(len(members)),
	})})
	if reason(err) == "exists" {
		return nil, errGroupMade
	}
	return g, err
}

// SetMember puts a person into a group, or takes them out.
func (s *Service) SetMember(ctx context.Context, by Principal, name string, who id.User, in bool, now time.Time) (*Group, error) {
	if err := s.mayGroup(by, now); err != nil {
		return nil, err
	}
	g, err := s.Store.Groups().Group(ctx, s.Org, name)
	if err != nil {
		return nil, err
	}
	if in {
		if _, err := s.members(ctx, []id.User{who}); err != nil {
			return nil, err
		}
	}
	err = s.Store.Groups().UpdateGroup(ctx, s.Org, g.ID, func(g *Group) ([]audit.Event, error) {
		verb := "group.member_added"
		switch at := slices.Index(g.Members, who); {
		case in == (at >= 0):
			return nil, errNoChange
		case in && len(g.Members) >= MaxMembers:
			return nil, errMembers
		case in:
			g.Members = append(g.Members, who)
		default:
			verb, g.Members = "group.member_removed", slices.Delete(g.Members, at, at+1)
		}
		return []audit.Event{by.Event(verb, string(g.ID), who, now, map[string]string{
			"name": g.Name, "version": strconv.FormatInt(g.Version+1, 10),
		})}, nil
	})
	if err != nil {
		return nil, err
	}
	return s.Store.Groups().Group(ctx, s.Org, name)
}

func (s *Service) mayGroup(by Principal, now time.Time) error {
	if err := by.MayManage(); err != nil {
		return err
	}
	return by.Fresh(now)
}

// members checks that all exist, and lists each once.
func (s *Service) members(ctx context.Context, all []id.User) ([]id.User, error) {
	all = slices.Clone(all)
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > MaxMembers {
		return nil, errMembers
	}
	for _, who := range all {
		if _, err := s.Store.User(ctx, s.Org, who); err != nil {
			return nil, err
		}
	}
	return all, nil
}
