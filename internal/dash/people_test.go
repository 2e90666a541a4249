package dash_test

import (
	"time"

	"github.com/valetkey/valetkey/internal/dash"
)

func youPage() dash.YouPage {
	v := dash.YouPage{
		Chrome: chrome("You", ""), Host: "valetkey.example.org", HasPasskey: true, Usable: true, Provider: "Example",
		Passkeys: []dash.PasskeyRow{
			{ID: "pky_01", Name: "Work laptop", CreatedAt: ago(90 * 24 * time.Hour), UsedAt: ago(time.Hour)},
			{ID: "pky_02", Name: "Pho\u202ene", CreatedAt: ago(3 * time.Hour), UsedAt: ago(3 * time.Hour), Rests: true},
			{ID: "pky_03", Name: "Old key", CreatedAt: ago(400 * 24 * time.Hour), Elsewhere: "old.example.org"},
		},
		Sessions: []dash.SessionRow{
			{ID: "ses_01", Label: "Firefox on Linux", Place: "192.0.2.7", CreatedAt: ago(time.Hour), SeenAt: ago(time.Minute), ExpiresAt: in(11 * time.Hour), This: true},
			{ID: "ses_02", Label: "Safari on iPhone", Place: "198.51.100.3", How: "identity provider", CreatedAt: ago(2 * time.Hour), SeenAt: ago(20 * time.Minute), ExpiresAt: in(10 * time.Hour)},
		},
		Terminals: []dash.SessionRow{{ID: "ses_03", Label: "ada-laptop", Place: "192.0.2.7", CreatedAt: ago(48 * time.Hour), SeenAt: ago(time.Hour), ExpiresAt: in(28 * 24 * time.Hour)}},
		CodesLeft: 9, CodesSince: ago(80 * 24 * time.Hour),
		Identities: []dash.IdentityRow{{ID: "idn_01", Label: "ada@example.org", Issuer: "https://accounts.example.org", CreatedAt: ago(5 * time.Hour), UsedAt: ago(time.Hour), Rests: true}},
	}
	v.Alerts = []dash.Alert{{Text: "A passkey was added to your account", Name: "Pho\u202ene", At: ago(3 * time.Hour)}}
	return v
}

func peoplePage() dash.PeoplePage {
	return dash.PeoplePage{
		Chrome: chrome("People", ""), Manages: true, Rules: true, Roles: []string{"member", "admin", "auditor", "owner"},
		People: []dash.PersonRow{
			{ID: "usr_01", Name: "Ada Lovelace", Role: "owner", Status: "active", Passkeys: 2, Identities: 1, CreatedAt: ago(90 * 24 * time.Hour), Self: true, Touchable: true},
			{ID: "usr_02", Name: "Grace Hopper", Role: "member", Status: "active", CreatedAt: ago(time.Hour), Invited: in(23 * time.Hour), Touchable: true},
			{ID: "usr_03", Name: "Mal\u200blory", Role: "member", Status: "suspended", Passkeys: 1, CreatedAt: ago(40 * 24 * time.Hour), Touchable: true},
		},
	}
}
