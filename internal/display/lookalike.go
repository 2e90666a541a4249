package display

import (
	"strings"
	"unicode"
)

// twins lists letters that can pass for an ASCII character, by script. A word
// made only of such letters reads as a Latin word that it is not.
var twins = func() map[rune]byte {
	m := map[rune]byte{}
	for _, pair := range []struct{ odd, ascii string }{
		// Cyrillic
		{"асԁеһіјӏкорԛѕтԝхуь", "acdehijlkopqstwxyb"},
		{"АВСЕԌНІЈКМОРԚЅТԜХҮУԀЬӀ", "ABCEGHIJKMOPQSTWXYYDbI"},
		// Greek
		{"αεγηικνορστυχωϲϳ", "aeynikvopotuxwcj"},
		{"ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹͿ", "ABEZHIKMNOPTYXCJ"},
		// Armenian, Cherokee, Coptic, Lisu
		{"ցհոսօզյՏՍ", "ghnuoqjSU"},
		{"ᎪᏴᏟᎠᎬᎻᎥᎫᏦᏞᎷᏢᏒᏚᎢᏙᎳᏃᏀ", "ABCDEHiJKLMPRSTVWZG"},
		{"ⲟⲣⲥⲭⲞⲢⲤⲬ", "opcxOPCX"},
		{"ꓮꓐꓚꓓꓰꓖꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜ", "ABCDEGHIJKLMNOPRSTUVWXYZ"},
		// Latin letters that are not in anyone's alphabet but look like ours
		{"ɑɡıɩⅼƖɪʏᴄᴏᴠᴡᴢꜱꞌ", "agiilIIYcovwzs'"},
	} {
		ascii := []byte(pair.ascii)
		for i, r := range []rune(pair.odd) {
			if i < len(ascii) {
				m[r] = ascii[i]
			}
		}
	}
	return m
}()

// signs are punctuation marks that can pass for an ASCII sign which means
// something in a path, a host, an address or an amount.
var signs = func() map[rune]byte {
	m := map[rune]byte{}
	for ascii, odd := range map[byte]string{
		'/': "⁄∕⧸／╱⟋", '\\': "∖⧵⧹＼﹨", '.': "․．｡。٠۔ꓸ", ':': "ː˸։׃∶꞉︓：", '-': "‐‑‒⁃−˗－﹣➖",
		'\'': "’‘ʹʻʼʽˈ՚＇′`´ˋ＇", '"': "“”„″ʺ＂", '@': "＠﹫", '#': "＃﹟", '?': "？﹖", '&': "＆﹠", '%': "％٪﹪",
		'=': "＝﹦᐀", '<': "‹˂＜﹤", '>': "›˃＞﹥", '|': "ǀ∣｜│", ',': "‚،，﹐", ';': "\u037E；﹔", '!': "ǃ！﹗", '~': "˜∼～", '*': "∗＊﹡٭",
		'(': "（﹙", ')': "）﹚", '[': "［", ']': "］", '{': "｛﹛", '}': "｝﹜", '_': "＿ˍ", '+': "＋﹢᛭", '$': "＄﹩",
	} {
		for _, r := range odd {
			if r >= 0x80 {
				m[r] = ascii
			}
		}
	}
	return m
}()

// typography are signs of ordinary prose. They are marked only where no
// letter or space explains them as such: "don’t" and “quoted” are plain.
const typography = "’‘“”„‚‹›′″"

// compat says which ASCII character a compatibility form stands for: the wide
// forms of East Asian fonts, mathematical alphabets, Roman numerals,
// ligatures, letterlike signs.
func compat(r rune) (string, bool) {
	switch {
	case r >= 0xFF01 && r <= 0xFF5E:
		return string(r - 0xFEE0), true
	case r >= 0x1D400 && r <= 0x1D6A3:
		i := (r - 0x1D400) % 52
		if i < 26 {
			return string('A' + i), true
		}
		return string('a' + i - 26), true
	case r >= 0x1D7CE && r <= 0x1D7FF:
		return string('0' + (r-0x1D7CE)%10), true
	case r >= 0x1D6A4 && r <= 0x1D7CD:
		return "a mathematical letter", true
	case r >= 0x24B6 && r <= 0x24CF:
		return string('A' + r - 0x24B6), true
	case r >= 0x24D0 && r <= 0x24E9:
		return string('a' + r - 0x24D0), true
	case r >= 0x1F110 && r <= 0x1F189 && unicode.IsSymbol(r):
		return "a letter", true
	case r >= 0x2160 && r <= 0x217F:
		return "a Roman numeral", true
	case r >= 0xFB00 && r <= 0xFB06:
		return []string{"ff", "fi", "fl", "ffi", "ffl", "st", "st"}[r-0xFB00], true
	case r == 0x212A:
		return "K", true
	case r == 0x212B:
		return "Å", true
	case r >= 0x2100 && r <= 0x2149 && unicode.IsLetter(r):
		return "a letter", true
	case r >= 0x2070 && r <= 0x209C, r == 0xB2, r == 0xB3, r == 0xB9:
		return "a small digit or letter", true
	case r > 0x7F && unicode.Is(unicode.Nd, r):
		return "a digit", true
	}
	return "", false
}

// lookalikes returns a note for each position of s that holds a look-alike.
func lookalikes(s []char) []string {
	notes := make([]string, len(s))
	ascii := true
	for i, c := range s {
		if c.r < 0x80 {
			continue
		}
		ascii = false
		if nativePunctuation(s, i) {
			continue
		}
		if as, ok := compat(c.r); ok {
			notes[i] = "looks like " + as
		} else if as, ok := signs[c.r]; ok && !prose(s, i) {
			notes[i] = "looks like " + string(rune(as))
		}
	}
	if ascii {
		return notes
	}
	words := split(s)
	for i, w := range words {
		w.judge(s, notes, i > 0 && words[i-1].native, i+1 < len(words) && words[i+1].native)
	}
	return notes
}

// nativePunctuation reports whether the sign at i is the ordinary stop, comma
// or bracket of the script that it stands beside.
func nativePunctuation(s []char, i int) bool {
	if !strings.ContainsRune("。，：；！？（）、،؛؟۔٪", s[i].r) {
		return false
	}
	return i > 0 && ownPunctuation(s[i-1].r) || i+1 < len(s) && ownPunctuation(s[i+1].r)
}

func ownPunctuation(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo, unicode.Arabic) && unicode.IsLetter(r)
}

// prose reports whether the sign at i is used as a writer would: an
// apostrophe between letters, a quotation mark beside a space or an end.
func prose(s []char, i int) bool {
	if !strings.ContainsRune(typography, s[i].r) {
		return false
	}
	before, after := i == 0 || boundary(s[i-1].r), i+1 == len(s) || boundary(s[i+1].r)
	letters := i > 0 && i+1 < len(s) && unicode.IsLetter(s[i-1].r) && unicode.IsLetter(s[i+1].r)
	if strings.ContainsRune("’", s[i].r) && letters {
		return true
	}
	return before != after && len(s) > 2
}

func boundary(r rune) bool {
	return unicode.IsSpace(r) || strings.ContainsRune(`.,;:!?()[]—–-"`, r)
}

// word is a run of letters, marks and digits.
type word struct {
	from, to int
	latin    bool // has an ASCII or other Latin letter
	native   bool // has a letter of another script that looks like nothing else
	foreign  bool // has a letter of a script that is not written together with Latin
}

func split(s []char) []word {
	var words []word
	open := false
	for i, c := range s {
		if !unicode.IsLetter(c.r) && !unicode.Is(unicode.M, c.r) && !unicode.IsDigit(c.r) {
			open = false
			continue
		}
		if !open {
			words, open = append(words, word{from: i}), true
		}
		w := &words[len(words)-1]
		w.to = i + 1
		switch {
		case !unicode.IsLetter(c.r):
		case unicode.Is(unicode.Latin, c.r):
			w.latin = true
		case besideLatin(c.r):
			w.native = true
		default:
			w.foreign = true
			if twins[c.r] == 0 {
				w.native = true
			}
		}
	}
	return words
}

// besideLatin reports whether r belongs to a script that is mixed with Latin
// letters in honest words, as in Japanese and Korean (Unicode Technical
// Standard 39 §5.2, "highly restrictive").
func besideLatin(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo, unicode.Common)
}

// judge notes the look-alikes of a word. In a word with Latin letters every
// letter of another script is marked. A word of another script is marked when
// each of its letters has a Latin twin, unless it stands beside a word that
// shows the script is meant.
func (w word) judge(s []char, notes []string, nativeBefore, nativeAfter bool) {
	whole := w.foreign && !w.latin && !w.native && !nativeBefore && !nativeAfter
	for i := w.from; i < w.to; i++ {
		r := s[i].r
		if r < 0x80 || notes[i] != "" || !unicode.IsLetter(r) {
			continue
		}
		twin := twins[r]
		latin := unicode.Is(unicode.Latin, r)
		switch {
		case latin && twin != 0:
			notes[i] = "looks like " + string(rune(twin))
		case latin || besideLatin(r):
		case (w.latin || whole) && twin != 0:
			notes[i] = script(r) + ", looks like " + string(rune(twin))
		case w.latin:
			notes[i] = script(r) + " in a Latin word"
		}
	}
}

// script names the script of r among those that are confused with Latin.
func script(r rune) string {
	for _, s := range []struct {
		name  string
		table *unicode.RangeTable
	}{
		{"Cyrillic", unicode.Cyrillic}, {"Greek", unicode.Greek}, {"Armenian", unicode.Armenian}, {"Cherokee", unicode.Cherokee},
		{"Coptic", unicode.Coptic}, {"Lisu", unicode.Lisu}, {"Hebrew", unicode.Hebrew}, {"Arabic", unicode.Arabic},
		{"Georgian", unicode.Georgian}, {"Thai", unicode.Thai},
	} {
		if unicode.Is(s.table, r) {
			return s.name
		}
	}
	return "another script"
}
