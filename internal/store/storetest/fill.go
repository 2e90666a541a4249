package storetest

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
)

// now is when everything in the suite happens.
var now = time.Date(2026, 11, 22, 9, 0, 0, 123456000, time.UTC)

const org = id.DefaultOrg

// filled returns a record in which no field has its zero value, and no two
// fields have the same: one that is not stored, or stored in another's place,
// shows when it is read back. A field that is added later is filled too.
func filled[T any](change func(*T)) *T {
	v := new(T)
	n := 0
	fill(reflect.ValueOf(v).Elem(), &n)
	change(v)
	return v
}

func fill(v reflect.Value, n *int) {
	*n++
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = now.Add(time.Duration(*n) * time.Hour)
		return
	case *map[string]string:
		*p = map[string]string{fmt.Sprint("key ", *n): fmt.Sprint("value ", *n)}
		return
	case *netip.Prefix:
		*p = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(*n)}), 32)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("%d \"ü\" 'x' \\ %%", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8:
		v.SetUint(uint64(*n % 256))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	default:
		panic(fmt.Sprintf("storetest: a %s in a record", v.Type()))
	}
}

// event is one that can be recorded.
func event(verb string, object any) audit.Event {
	return audit.Event{At: now, Org: org, Verb: verb, Actor: "system", Object: fmt.Sprint(object), Data: map[string]string{"why": "test"}}
}

// malformed cannot be recorded: no event is without an actor.
func malformed() audit.Event { return audit.Event{At: now, Org: org, Verb: "test.malformed"} }

// same compares what was read with what was stored.
func same(t testing.TB, got, want any, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("read %T: %v", want, err)
		return
	}
	opts := cmp.Options{cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("%T read back differently (-want +got):\n%s", want, diff)
	}
}
