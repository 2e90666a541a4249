// Package arch holds no code: its tests are the architecture's guard. They
// parse the sources of every package and fail when one imports what its tier
// may not, or when a package has no tier yet.
package arch
