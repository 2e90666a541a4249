package httpapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/user"
)

// strandedView says which passkeys a change of the public URL has made useless,
// and whom that locks out.
func strandedView(people []*user.User, elsewhere map[string]int, here string) []api.Check {
	if len(elsewhere) == 0 || here == "" {
		return nil
	}
	n := 0
	var hosts []string
	for _, h := range slices.Sorted(maps.Keys(elsewhere)) {
		n += elsewhere[h]
		if h == "" {
			h = "another host name"
		}
		hosts = append(hosts, h)
	}
	c := api.Check{Name: "passkey_host", Status: checkWarning,
		Detail: fmt.Sprintf("%d of the passkeys were made for %s. A passkey works on one host name only, and this server is now %s.", n, strings.Join(hosts, ", "), here),
		Fix:    "Start it with the former --public-url, log in there and make an enrolment link for each of them, which is then opened under the new name: valetkey user enrol-link NAME"}
	if len(people) > 0 {
		var names []string
		for _, u := range people[:min(len(people), maxAlike)] {
			names = append(names, u.Name)
		}
		c.Status = checkFailed
		c.Detail += fmt.Sprintf(" Locked out: %s.", strings.Join(names, ", "))
		if more := len(people) - len(names); more > 0 {
			c.Detail += fmt.Sprintf(" And %d more.", more)
		}
	}
	return []api.Check{c}
}
