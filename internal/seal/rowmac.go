package seal

import (
	"encoding/binary"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// RowMAC authenticates rows that carry authority: agents, keys, grants,
// policies, roles. Whoever can write the database but has no root key can
// neither make such a row nor change one unnoticed. The fields must be all
// columns in a fixed order, the primary key and the row version among them;
// otherwise an older version of the row, or another row, would pass.
type RowMAC struct{ mac tink.MAC }

// RowMAC returns the authenticator.
func (k *Keyring) RowMAC() RowMAC { return k.rows }

// Sum returns the tag: the key's id, then HMAC-SHA-256 over the table and
// the fields.
func (m RowMAC) Sum(table string, fields ...[]byte) []byte {
	tag, err := m.mac.ComputeMAC(rowData(table, fields))
	if err != nil {
		// HMAC takes any input; an error can only be a keyset that Open
		// would have refused.
		panic("seal: row authentication key cannot compute a tag: " + err.Error())
	}
	return tag
}

// Verify reports, in constant time, whether tag is that of this row.
func (m RowMAC) Verify(tag []byte, table string, fields ...[]byte) bool {
	return m.mac.VerifyMAC(tag, rowData(table, fields)) == nil
}

// rowData frames what is authenticated: the number of fields and the length
// of each stand in front, so that nothing can move between neighbours.
func rowData(table string, fields [][]byte) []byte {
	const domain = "valetkey row"
	n := len(domain) + 4 + len(table) + 8 + 4
	for _, f := range fields {
		n += 8 + len(f)
	}
	b := make([]byte, 0, n)
	b = append(b, domain...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(table)))
	b = append(b, table...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(fields)))
	for _, f := range fields {
		b = binary.BigEndian.AppendUint64(b, uint64(len(f)))
		b = append(b, f...)
	}
	return b
}
