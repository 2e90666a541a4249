package vktest_test

import (
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/user"
)

func eventsOf(p user.Principal) func(verb, object string, data map[string]string) audit.Event {
	return func(verb, object string, data map[string]string) audit.Event {
		return p.Event(verb, object, p.User, time.Now(), data)
	}
}
