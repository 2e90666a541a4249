package sandbox

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

var formToken = regexp.MustCompile(`name="form" value="([A-Za-z0-9_-]+)"`)

// Approve does what a person's browser does with an authorization URL: it
// opens the consent page over HTTP, chooses the account and authorizes. It
// returns the address to which the person is sent, which holds the code and
// which the caller must open next. It is for demonstrations and tests.
func Approve(ctx context.Context, client *http.Client, authorizeURL, login string) (string, error) {
	return decide(ctx, client, authorizeURL, login, "approve")
}

// Deny is Approve for a person who cancels.
func Deny(ctx context.Context, client *http.Client, authorizeURL string) (string, error) {
	return decide(ctx, client, authorizeURL, "", "deny")
}

func decide(ctx context.Context, client *http.Client, authorizeURL, login, decision string) (string, error) {
	still := *client
	still.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	at, err := url.Parse(authorizeURL)
	if err != nil {
		return "", fmt.Errorf("parse the authorization URL: %w", err)
	}
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, authorizeURL, nil)
	if err != nil {
		return "", fmt.Errorf("open the consent page: %w", err)
	}
	page, status, location, err := fetch(&still, get)
	switch {
	case err != nil:
		return "", fmt.Errorf("open the consent page: %w", err)
	case location != "": // refused before anybody was asked
		return location, nil
	}
	found := formToken.FindSubmatch(page)
	if found == nil {
		return "", fmt.Errorf("open the consent page: status %d, and no form on it", status)
	}
	form := url.Values{"form": {string(found[1])}, "login": {login}, "decision": {decision}}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, at.ResolveReference(&url.URL{Path: at.Path}).String(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("send the consent form: %w", err)
	}
	post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, status, location, err = fetch(&still, post)
	switch {
	case err != nil:
		return "", fmt.Errorf("send the consent form: %w", err)
	case location == "":
		return "", fmt.Errorf("send the consent form: status %d", status)
	}
	return location, nil
}

func fetch(client *http.Client, r *http.Request) (body []byte, status int, location string, err error) {
	res, err := client.Do(r)
	if err != nil {
		return nil, 0, "", err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return body, res.StatusCode, res.Header.Get("Location"), err
}
