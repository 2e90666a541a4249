package display

import "unicode"

// maxMarks is how many combining marks of its own script a letter may carry.
// Thai, Tibetan and pointed Hebrew need three; a stack that leaves its line
// needs many more.
const maxMarks = 3

// named are the hidden characters that people meet, in words.
var named = map[rune]string{
	'\t': "tab", '\r': "carriage return", '\v': "vertical tab", '\f': "form feed", '\b': "backspace",
	0x00: "null", 0x07: "bell", 0x1B: "terminal escape", 0x7F: "delete", 0x85: "next line", 0x9B: "terminal escape",
	0x00A0: "no-break space", 0x00AD: "soft hyphen", 0x034F: "combining grapheme joiner",
	0x061C: "Arabic letter mark", 0x180E: "Mongolian vowel separator", 0x1680: "Ogham space",
	0x115F: "Hangul filler", 0x1160: "Hangul filler", 0x3164: "Hangul filler", 0xFFA0: "Hangul filler",
	0x17B4: "Khmer invisible vowel", 0x17B5: "Khmer invisible vowel",
	0x200B: "zero-width space", 0x200C: "zero-width non-joiner", 0x200D: "zero-width joiner",
	0x200E: "left-to-right mark", 0x200F: "right-to-left mark",
	0x2028: "line separator", 0x2029: "paragraph separator",
	0x202A: "left-to-right embedding", 0x202B: "right-to-left embedding", 0x202C: "end of direction change",
	0x202D: "left-to-right override", 0x202E: "right-to-left override",
	0x202F: "narrow no-break space", 0x205F: "mathematical space", 0x2060: "word joiner",
	0x2066: "left-to-right isolate", 0x2067: "right-to-left isolate", 0x2068: "first-strong isolate", 0x2069: "end of isolate",
	0x2800: "blank Braille pattern", 0x3000: "wide space", 0xFEFF: "zero-width no-break space",
	0xFFFC: "object replacement", 0xFFFD: "replacement character",
	0x1D159: "musical null notehead", 0x13441: "blank hieroglyph", 0x13442: "blank hieroglyph", 0x16FE4: "Khitan filler",
}

// hiddenNote names r if it leaves no honest mark on a screen, and is "" for a
// character that can be shown as it is. Combining marks are judged by
// markNote, because whether they can be seen depends on what they sit on.
func hiddenNote(r rune) string {
	if note := named[r]; note != "" {
		return note
	}
	switch {
	case r == ' ' || r > 0x20 && r < 0x7F:
		return ""
	case r&0xFFFE == 0xFFFE || r >= 0xFDD0 && r <= 0xFDEF:
		return "not a character"
	case r >= 0xE0020 && r <= 0xE007F:
		return "hidden tag for " + string(r-0xE0000)
	case r >= 0xE0000 && r <= 0xE0FFF:
		return "hidden tag"
	case unicode.Is(unicode.Zs, r):
		return "unusual space"
	case unicode.Is(unicode.Cc, r):
		return "control character"
	case unicode.Is(unicode.Cf, r):
		return "invisible format character"
	case unicode.Is(unicode.Co, r):
		return "private character"
	case unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r):
		return "invisible character"
	case !unicode.IsGraphic(r):
		return "unassigned character"
	}
	return ""
}

// markNote names a combining mark that cannot be shown where it stands: the
// n-th mark since the last base character.
func markNote(r rune, based bool, n int) string {
	switch {
	case unicode.Is(unicode.Variation_Selector, r):
		return "variation selector"
	case named[r] != "":
		return named[r]
	case !based:
		return "combining mark on nothing"
	case n > maxMarks:
		return "stacked combining mark"
	case unicode.Is(unicode.Inherited, r):
		// An accent written apart looks just like the letter that has it
		// built in, so two different payloads would look the same.
		return "combining mark"
	case unicode.Is(unicode.Me, r):
		return "enclosing mark"
	}
	return ""
}

// rightToLeft reports whether r is a letter of a script that runs leftwards
// and can reorder what stands beside it.
func rightToLeft(r rune) bool {
	return unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko, unicode.Samaritan,
		unicode.Mandaic, unicode.Adlam, unicode.Hanifi_Rohingya, unicode.Mende_Kikakui, unicode.Phoenician)
}
