// Package display decides how text that we did not write is shown to a person
// who has to judge it.
//
// The rule is that two texts which differ must look different, and that what
// a person sees is all there is. [Visible] cuts a string into spans. A
// [Plain] span is shown as it is. A [Hidden] span stands for one code point
// that leaves no honest mark on a screen (bidirectional controls, zero-width
// and control characters, variation selectors, tags, unusual spaces, stacked
// combining marks, bytes that are not UTF-8) and is shown by its Label, never
// by its Text. A [Lookalike] span stands for a letter or sign that can pass
// for another one where it stands and is shown with its Label beside it or
// instead of it.
//
// [VisibleText] is the same judgement as one line of text for terminals and
// attributes; it is injective, so it can be decoded again. [Clip] caps a
// length and says how much is left. [Host] writes a host name in ASCII, and
// [Shell] words of a command that a person may paste.
//
// The package knows nothing of HTML or terminals, keeps no state, and never
// changes or normalises what it is given: normalising would make different
// payloads look the same.
package display
