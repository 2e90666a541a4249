#!/usr/bin/env bash
# Installs what the tests need beside Go: PostgreSQL and Chromium from the
# system's packages, the npm peers from their lock file. What is there already
# is left alone; what cannot be installed is named, and the tests that need it
# say so (or fail, where VALETKEY_REQUIRE lists it).
set -u
cd "$(dirname "$0")/.."
missing=()

have_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null; }
have_chromium() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null; }

packages=()
have_postgres || packages+=(postgresql)
have_chromium || packages+=(chromium)
if [ ${#packages[@]} -gt 0 ]; then
	if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
		echo "installing ${packages[*]}"
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >/tmp/valetkey-setup.log 2>&1 ||
			tail -5 /tmp/valetkey-setup.log
	else
		echo "run as root: apt-get install ${packages[*]}"
	fi
fi
have_postgres || missing+=("PostgreSQL (initdb, pg_ctl)")
have_chromium || missing+=("Chromium")

if [ -f test/peers/package-lock.json ]; then
	if command -v npm >/dev/null; then
		if ! cmp -s test/peers/package-lock.json test/peers/node_modules/.installed; then
			echo "installing npm peers"
			if (cd test/peers && npm ci --no-audit --no-fund --loglevel=error); then
				cp test/peers/package-lock.json test/peers/node_modules/.installed
			else
				missing+=("the npm packages of test/peers")
			fi
		fi
	else
		missing+=("Node.js with npm")
	fi
fi

if [ ${#missing[@]} -gt 0 ]; then
	printf 'missing for the tests: %s\n' "${missing[@]}"
	if [ -n "${VALETKEY_REQUIRE:-}" ]; then
		echo "VALETKEY_REQUIRE=$VALETKEY_REQUIRE: stopping here"
		exit 1
	fi
fi
exit 0
