package seal

import (
	"container/list"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// lru holds the data keys used last, up to a number. Its user locks it.
type lru struct {
	limit  int
	order  *list.List // of *entry, the one used last in front
	byName map[Name]*list.Element
}

type entry struct {
	name Name
	key  tink.AEAD
}

func newLRU(limit int) *lru {
	return &lru{limit: limit, order: list.New(), byName: map[Name]*list.Element{}}
}

func (l *lru) get(name Name) (tink.AEAD, bool) {
	e, ok := l.byName[name]
	if !ok {
		return nil, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*entry).key, true
}

func (l *lru) put(name Name, key tink.AEAD) {
	l.drop(name)
	l.byName[name] = l.order.PushFront(&entry{name, key})
	if l.order.Len() > l.limit {
		l.drop(l.order.Back().Value.(*entry).name)
	}
}

func (l *lru) drop(name Name) {
	if e, ok := l.byName[name]; ok {
		l.order.Remove(e)
		delete(l.byName, name)
	}
}
