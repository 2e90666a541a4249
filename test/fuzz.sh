#!/usr/bin/env bash
# Runs every fuzz target of the tree for the time given, one after another.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-15s}
grep -rlE '^func Fuzz[A-Za-z0-9]+\(' --include='*_test.go' . | while read -r file; do
	pkg=./$(dirname "${file#./}")
	grep -oE '^func Fuzz[A-Za-z0-9]+' "$file" | sed 's/^func //' | while read -r name; do
		echo "== $pkg $name"
		go test "$pkg" -run '^$' -fuzz "^$name\$" -fuzztime "$time"
	done
done
