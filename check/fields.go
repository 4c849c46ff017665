package check

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"
)

// FormatFields writes a struct of plain fields as "name=value …": lower-case
// field names, zero values left out; `check:"oct"` and `check:"hex"` choose the
// base, `check:"-"` leaves a field out. Other values print alone as "=value".
func FormatFields(v any) string {
	rv := reflect.ValueOf(v)
	if !rv.IsValid() {
		return ""
	}
	if rv.Kind() != reflect.Struct {
		return "=" + formatValue(rv, "")
	}
	var b strings.Builder
	for i, t := 0, rv.Type(); i < t.NumField(); i++ {
		f, tag := t.Field(i), t.Field(i).Tag.Get("check")
		if fv := rv.Field(i); !f.IsExported() || tag == "-" || fv.IsZero() || fv.Kind() == reflect.Slice && fv.Len() == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strings.ToLower(f.Name))
		b.WriteByte('=')
		b.WriteString(formatValue(rv.Field(i), tag))
	}
	return b.String()
}

// showFields is a struct of plain fields for people: what it holds alone goes
// without a name, and what is zero has a word.
func showFields(v any) string {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Struct {
		return strings.TrimPrefix(FormatFields(v), "=")
	}
	var only []int
	for i, t := 0, rv.Type(); i < t.NumField(); i++ {
		if f := t.Field(i); f.IsExported() && f.Tag.Get("check") != "-" {
			only = append(only, i)
		}
	}
	if len(only) != 1 {
		if s := FormatFields(v); s != "" {
			return s
		}
		return "nothing set"
	}
	f := rv.Field(only[0])
	switch f.Kind() {
	case reflect.Bool:
		if f.Bool() {
			return "yes"
		}
		return "no"
	case reflect.String:
		return strconv.Quote(f.String())
	case reflect.Slice:
		parts := make([]string, f.Len())
		for i := range parts {
			parts[i] = strings.TrimPrefix(FormatFields(f.Index(i).Interface()), "=")
		}
		if len(parts) == 0 {
			return "none"
		}
		return strings.Join(parts, ", ")
	}
	return formatValue(f, rv.Type().Field(only[0]).Tag.Get("check"))
}

func formatValue(v reflect.Value, tag string) string {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, _ := m.MarshalText()
		return bareOrQuoted(string(text))
	}
	switch v.Kind() {
	case reflect.String:
		return bareOrQuoted(v.String())
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		switch tag {
		case "oct":
			return "0" + strconv.FormatUint(v.Uint(), 8)
		case "hex":
			return "0x" + strconv.FormatUint(v.Uint(), 16)
		}
		return strconv.FormatUint(v.Uint(), 10)
	case reflect.Slice, reflect.Array:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = formatPlain(v.Index(i), tag)
		}
		return bareOrQuoted(strings.Join(parts, ","))
	case reflect.Struct:
		return strconv.Quote(FormatFields(v.Interface()))
	}
	panic(fmt.Sprintf("check.FormatFields: %s is no plain field", v.Type())) // a mistake in a probe, found by any test
}

// formatPlain is an element of a list; strings are escaped so that commas stay apart.
func formatPlain(v reflect.Value, tag string) string {
	switch v.Kind() {
	case reflect.String:
		return listEscape.Replace(v.String())
	case reflect.Struct:
		return listEscape.Replace(FormatFields(v.Interface()))
	}
	return formatValue(v, tag)
}

var (
	listEscape   = strings.NewReplacer("%", "%25", ",", "%2C")
	listUnescape = strings.NewReplacer("%2C", ",", "%25", "%")
)

func bareOrQuoted(s string) string {
	bare := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("\"\\;{}`", r)
	})
	if bare {
		return s
	}
	return strconv.Quote(s)
}

// ParseFields reads what FormatFields writes into *dst. Unknown names are an error.
func ParseFields(line string, dst any) error {
	rv := reflect.ValueOf(dst).Elem()
	if rv.Kind() != reflect.Struct {
		s := scanner{rest: "v" + strings.TrimSpace(line)}
		_, value, _, err := s.field()
		if err != nil {
			return err
		}
		return parseValue(rv, value)
	}
	s := scanner{rest: line}
	for s.skipSpace(); s.rest != ""; s.skipSpace() {
		name, value, _, err := s.field()
		if err != nil {
			return err
		}
		f := rv.FieldByNameFunc(func(n string) bool { return strings.ToLower(n) == name })
		if !f.IsValid() || !f.CanSet() {
			return fmt.Errorf("no field %.40q", name)
		}
		if err := parseValue(f, value); err != nil {
			return fmt.Errorf("field %s: %w", name, err)
		}
	}
	return nil
}

func parseValue(f reflect.Value, value string) error {
	if u, ok := f.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(value))
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(value)
	case reflect.Bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return err
		}
		f.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(value, 10, f.Type().Bits())
		if err != nil {
			return err
		}
		f.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		n, err := strconv.ParseUint(value, 0, f.Type().Bits())
		if err != nil {
			return err
		}
		f.SetUint(n)
	case reflect.Slice:
		if value == "" {
			return nil
		}
		parts := strings.Split(value, ",")
		list := reflect.MakeSlice(f.Type(), len(parts), len(parts))
		for i, p := range parts {
			if err := parseValue(list.Index(i), listUnescape.Replace(p)); err != nil {
				return err
			}
		}
		f.Set(list)
	case reflect.Struct:
		return ParseFields(value, f.Addr().Interface())
	default:
		return fmt.Errorf("%s is no plain field", f.Type())
	}
	return nil
}

// printable is s as it is safe to show: quoted where it holds anything that a
// terminal or a reader could take for something else.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar || r == '"' }) {
		return strconv.Quote(s)
	}
	return s
}

// Printable is s as it is safe to show to people: quoted, with escapes, where
// it holds control characters or bytes that are no text.
func Printable(s string) string { return printable(s) }

// Plain is text for people that may hold names from outside: control
// characters, and bytes that are no text, are shown as escapes.
func Plain(s string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	if !strings.ContainsFunc(s, odd) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if odd(r) {
			q := strconv.QuoteToASCII(s[i : i+max(1, min(len(s)-i, len(string(r))))])
			if r == unicode.ReplacementChar {
				q = strconv.QuoteToASCII(s[i : i+1])
			}
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
