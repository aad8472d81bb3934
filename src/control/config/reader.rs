//! One table of the file, read by its key list: unknown keys with the near name, wrong types, values out of range and
//! missing keys are all collected here, so that `check` is left with what keys mean together.
//!
//! A reader always gives a value of the right type. Where the file has none to give, the mistake is on record and the
//! value is a stand-in that never gets out: no settings leave `check` while there is an error.

use super::keys::{self, Key, Kind, Presence, Table, WORDS_MAX, Word};
use super::report::{Mistake, Mistakes, Place};
use super::values::{self, shown};
use crate::base::Address;
use crate::upstream::Labels;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    pub value: T,
    pub place: Place,
}

/// One table at hand.
#[derive(Debug)]
pub struct Reader<'d, 'i> {
    pub spec: &'static Table,
    /// The table's header, for what is missing in it.
    pub place: Place,
    file: usize,
    entries: &'d DeTable<'i>,
    mistakes: &'d Mistakes,
}

impl<'d, 'i> Reader<'d, 'i> {
    /// Begins with `entries` and reports every key that `spec` does not have.
    pub fn new(
        spec: &'static Table,
        file: usize,
        place: Place,
        entries: &'d DeTable<'i>,
        mistakes: &'d Mistakes,
    ) -> Reader<'d, 'i> {
        let reader = Reader { spec, place, file, entries, mistakes };
        for key in entries.keys() {
            if !reader.knows(key.get_ref()) {
                reader.unknown(key.get_ref(), key.span());
            }
        }
        reader
    }

    /// A table inside a value; anything else is a mistake.
    pub fn inner(&self, spec: &'static Table, value: &'d Spanned<DeValue<'i>>) -> Option<Reader<'d, 'i>> {
        match value.get_ref() {
            DeValue::Table(entries) => {
                let place = self.place_of(value);
                Some(Reader::new(spec, self.file, place, entries, self.mistakes))
            }
            _ => {
                let key = self.entries.iter().find(|(_, entry)| std::ptr::eq(*entry, value));
                self.wrong_type(value, "a table", key.map(|(key, _)| key.get_ref().as_ref()))
            }
        }
    }

    pub fn mistake(&self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    pub fn mistakes(&self) -> &'d Mistakes {
        self.mistakes
    }

    pub fn place_of<T>(&self, spanned: &Spanned<T>) -> Place {
        Place { file: self.file, span: spanned.span() }
    }

    /// The value of a key as it stands in the file.
    pub fn raw(&self, name: &str) -> Option<&'d Spanned<DeValue<'i>>> {
        self.entries.get(name)
    }

    /// Where a key's name stands, or the table's header if it is absent.
    pub fn key_place(&self, name: &str) -> Place {
        let key = self.entries.get_key_value(name).map(|(key, _)| self.place_of(key));
        key.unwrap_or_else(|| self.place.clone())
    }

    /// Where a key's value stands, or the table's header if it is absent.
    pub fn value_place(&self, name: &str) -> Place {
        self.raw(name).map_or_else(|| self.place.clone(), |value| self.place_of(value))
    }

    fn knows(&self, name: &str) -> bool {
        self.spec.keys.iter().any(|key| key.name == name)
    }

    /// The key's entry in its table's list.
    fn spec(&self, name: &str) -> Option<&'static Key> {
        let key = self.spec.keys.iter().find(|key| key.name == name);
        debug_assert!(key.is_some(), "{name} is not in the key list of {}", self.spec.title);
        key
    }

    /// Reports a required key that is absent, and says whether it was there. A key that is likely this one, misspelt, is
    /// reported as such and not again as missing.
    pub fn required(&self, name: &str) -> bool {
        let present = self.raw(name).is_some();
        if let (false, Some(Key { presence: Presence::Required { example }, help, .. })) = (present, self.spec(name)) {
            let missing = Mistake::error(format!("`{name}` is missing"), self.place.clone(), "in this table");
            self.mistake(missing.help(format!("for example `{name} = {example}`")).help(*help).of_absence());
        }
        present
    }

    pub fn boolean(&self, name: &str) -> bool {
        self.value(name, |value| match value.get_ref() {
            DeValue::Boolean(given) => Some(*given),
            _ => self.wrong_type(value, "true or false", Some(name)),
        })
        .unwrap_or_default()
    }

    pub fn integer(&self, name: &str) -> u64 {
        self.optional_integer(name).unwrap_or_default()
    }

    pub fn optional_integer(&self, name: &str) -> Option<u64> {
        let Some(Kind::Integer { min, max }) = self.spec(name).map(|key| &key.kind) else {
            return None;
        };
        self.value(name, |value| {
            let DeValue::Integer(given) = value.get_ref() else {
                return self.wrong_type(value, "a whole number", Some(name));
            };
            let number = i128::from_str_radix(given.as_str(), given.radix()).ok();
            let fits = number.and_then(|number| u64::try_from(number).ok()).filter(|n| (*min..=*max).contains(n));
            if fits.is_none() {
                self.out_of_range(value, name, &min.to_string(), &max.to_string());
            }
            fits
        })
    }

    pub fn duration(&self, name: &str) -> Duration {
        let Some(Kind::Duration { min, max }) = self.spec(name).map(|key| &key.kind) else {
            return Duration::ZERO;
        };
        self.value(name, |value| {
            let duration = self.text_as(value, name, "a duration such as \"5s\"", values::duration)?;
            if !(*min..=*max).contains(&duration) {
                let (least, most) = (values::duration_text(*min), values::duration_text(*max));
                self.out_of_range(value, name, &least, &most);
                return None;
            }
            Some(duration)
        })
        .unwrap_or_default()
    }

    /// `None` is the word "off".
    pub fn duration_or_off(&self, name: &str) -> Option<Duration> {
        let Some(Kind::DurationOrOff { min, max }) = self.spec(name).map(|key| &key.kind) else {
            return None;
        };
        let read = |text: &str| match text {
            "off" => Ok(None),
            _ => values::duration(text).map(Some),
        };
        self.value(name, |value| {
            let duration = self.text_as(value, name, "a duration such as \"5s\", or \"off\"", read)?;
            if duration.is_some_and(|duration| !(*min..=*max).contains(&duration)) {
                let (least, most) = (values::duration_text(*min), values::duration_text(*max));
                self.out_of_range(value, name, &least, &format!("{most}, or \"off\""));
                return None;
            }
            Some(duration)
        })
        .flatten()
    }

    /// Bytes; the word "unlimited", where it is allowed, is `u64::MAX`.
    pub fn size(&self, name: &str) -> u64 {
        let Some(Kind::Size { min, max, unlimited }) = self.spec(name).map(|key| &key.kind) else {
            return 0;
        };
        let read = |text: &str| match text {
            "unlimited" if *unlimited => Ok(u64::MAX),
            _ => values::size(text),
        };
        self.value(name, |value| {
            let size = self.text_as(value, name, "a size such as \"16KiB\"", read)?;
            if (size < *min || size > *max) && !(*unlimited && size == u64::MAX) {
                self.out_of_range(value, name, &values::size_text(*min), &values::size_text(*max));
                return None;
            }
            Some(size)
        })
        .unwrap_or_default()
    }

    /// Bytes a second; the word "off" is 0.
    pub fn rate(&self, name: &str) -> u64 {
        let Some(Kind::Rate { max }) = self.spec(name).map(|key| &key.kind) else {
            return 0;
        };
        self.value(name, |value| {
            let rate = self.text_as(value, name, "a rate such as \"240B/s\", or \"off\"", values::rate)?;
            if rate > *max {
                self.out_of_range(value, name, "\"off\"", &format!("{}/s", values::size_text(*max)));
                return None;
            }
            Some(rate)
        })
        .unwrap_or_default()
    }

    /// Thousandths.
    pub fn percent(&self, name: &str) -> u32 {
        let Some(Kind::Percent { min, max }) = self.spec(name).map(|key| &key.kind) else {
            return 0;
        };
        self.value(name, |value| {
            let percent = self.text_as(value, name, "a percentage such as \"50%\"", values::percent)?;
            if !(*min..=*max).contains(&percent) {
                self.out_of_range(value, name, &values::percent_text(*min), &values::percent_text(*max));
                return None;
            }
            Some(percent)
        })
        .unwrap_or_default()
    }

    /// Thousandths; `None` is the word "off".
    pub fn percent_or_off(&self, name: &str) -> Option<u32> {
        let Some(Kind::PercentOrOff { min, max }) = self.spec(name).map(|key| &key.kind) else {
            return None;
        };
        let read = |text: &str| match text {
            "off" => Ok(None),
            _ => values::percent(text).map(Some),
        };
        self.value(name, |value| {
            let percent = self.text_as(value, name, "a percentage such as \"50%\", or \"off\"", read)?;
            if percent.is_some_and(|percent| !(*min..=*max).contains(&percent)) {
                let (least, most) = (values::percent_text(*min), values::percent_text(*max));
                self.out_of_range(value, name, &least, &format!("{most}, or \"off\""));
                return None;
            }
            Some(percent)
        })
        .flatten()
    }

    /// A text that is not empty.
    pub fn text(&self, name: &str) -> Option<String> {
        let filled =
            |text: &str| if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) };
        self.text_with(name, "a string", filled).map(|text| text.value)
    }

    /// The index of the word among those allowed.
    pub fn choice(&self, name: &str) -> usize {
        let Some(Kind::Choice(words)) = self.spec(name).map(|key| &key.kind) else {
            return 0;
        };
        self.value(name, |value| {
            let allowed = || words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            let DeValue::String(given) = value.get_ref() else {
                return self.wrong_type(value, &format!("one of {}", allowed()), Some(name));
            };
            let found = words.iter().position(|word| *word == given.as_ref());
            if found.is_none() {
                let title = match given.as_ref() {
                    "" => format!("`{name}` is empty"),
                    given => format!("`{}` is not a value of `{name}`", shown(given)),
                };
                let mistake = Mistake::error(title, self.place_of(value), format!("must be one of {}", allowed()));
                self.mistake(mistake.help_if_any(near(given, words.iter().copied())));
            }
            found
        })
        .unwrap_or_default()
    }

    pub fn listener_address(&self, name: &str) -> Option<Address> {
        self.value(name, |value| {
            self.text_as(value, name, "an address such as \"127.0.0.1:8080\"", values::listener_address)
        })
    }

    /// The text of a key, read by `read`, and where it stands.
    pub fn text_with<T>(&self, name: &str, form: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<Placed<T>> {
        let value_read = self.value(name, |value| self.text_as(value, name, form, &read))?;
        Some(Placed { value: value_read, place: self.value_place(name) })
    }

    /// One string or a list of strings; `None` when the key is absent and has no default.
    pub fn words<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<Vec<Placed<T>>> {
        let form = match self.spec(name).map(|key| &key.kind) {
            Some(Kind::Words(Word::ListenerName)) => "the name of a listener, or a list of names",
            Some(Kind::Words(Word::Host)) => "a host, or a list of hosts",
            Some(Kind::Words(Word::Method)) => "a method, or a list of methods",
            Some(Kind::Words(Word::Ip)) => "an IP address, or a list of them",
            Some(Kind::Words(Word::HashKey)) => "what of a request is its key, or a list of that",
            Some(Kind::Words(Word::Network)) => "a network, or a list of networks",
            Some(Kind::Words(Word::Status)) => {
                "a status such as \"200\", a range such as \"200-399\", or a list of them"
            }
            _ => "a string, or a list of strings",
        };
        self.value(name, |value| {
            let one = |item: &Spanned<DeValue<'_>>| {
                let text = self.text_as(item, name, form, &read)?;
                Some(Placed { value: text, place: self.place_of(item) })
            };
            let DeValue::Array(items) = value.get_ref() else {
                return Some(one(value).into_iter().collect());
            };
            if items.len() > WORDS_MAX {
                self.too_many(value, name, items.len(), WORDS_MAX);
                return None;
            }
            if items.is_empty() && self.raw(name).is_some() && !self.has_default(name) {
                let title = format!("`{name}` is an empty list");
                self.mistake(
                    Mistake::error(title, self.place_of(value), "nothing can match it")
                        .help(format!("leave `{name}` out to match everything")),
                );
            }
            Some(items.iter().filter_map(one).collect())
        })
    }

    fn has_default(&self, name: &str) -> bool {
        matches!(self.spec(name), Some(Key { presence: Presence::Default(_), .. }))
    }

    /// The items of a list; a single value is refused.
    pub fn list(&self, name: &str, form: &str) -> &'d [Spanned<DeValue<'i>>] {
        match self.raw(name).map(|value| (value, value.get_ref())) {
            None => &[],
            Some((_, DeValue::Array(items))) => items,
            Some((value, _)) => {
                self.wrong_type::<()>(value, form, Some(name));
                &[]
            }
        }
    }

    /// A table of tables by name.
    pub fn named(
        &self,
        name: &str,
        form: &str,
    ) -> Vec<(&'d Spanned<toml::de::DeString<'i>>, &'d Spanned<DeValue<'i>>)> {
        match self.raw(name).map(|value| (value, value.get_ref())) {
            None => Vec::new(),
            Some((_, DeValue::Table(entries))) => {
                let mut named: Vec<_> = entries.iter().collect();
                named.sort_by_key(|(key, _)| key.span().start);
                named
            }
            Some((value, _)) => {
                self.wrong_type::<()>(value, form, Some(name));
                Vec::new()
            }
        }
    }

    /// A table of names and values.
    pub fn labels(&self, name: &str) -> Labels {
        let form = "a table of names and values such as { version = \"v2\" }";
        let entries = self.named(name, form);
        if entries.len() > keys::LABELS_MAX {
            let place = self.value_place(name);
            let label = format!("{} of them, and at most {} are allowed", entries.len(), keys::LABELS_MAX);
            self.mistake(Mistake::error(format!("`{name}` is too long"), place, label));
            return Labels::new();
        }
        let read = |value| self.text_as(value, name, "a string", values::label);
        entries
            .into_iter()
            .filter_map(|(key, value)| Some((key.get_ref().as_ref().into(), read(value)?.into())))
            .collect()
    }

    /// A string read by `read`; anything else is a mistake.
    pub fn text_as<T>(
        &self,
        value: &Spanned<DeValue<'_>>,
        name: &str,
        form: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let DeValue::String(text) = value.get_ref() else {
            return self.wrong_type(value, form, Some(name));
        };
        match read(text) {
            Ok(value_read) => Some(value_read),
            Err(why) => {
                let title = match text.as_ref() {
                    "" => format!("`{name}` is empty"),
                    text => format!("`{}` cannot be read as `{name}`", shown(text)),
                };
                self.mistake(Mistake::error(title, self.place_of(value), why));
                None
            }
        }
    }

    /// The value in the file, else the default of the key list, read by `read`.
    fn value<T>(&self, name: &str, read: impl Fn(&Spanned<DeValue<'_>>) -> Option<T>) -> Option<T> {
        if let Some(value) = self.raw(name) {
            return read(value);
        }
        let Some(Key { presence: Presence::Default(text), .. }) = self.spec(name) else {
            return None;
        };
        // A test reads every default of the key list, so this cannot fail.
        DeValue::parse(text).ok().and_then(|value| read(&value))
    }

    fn unknown(&self, name: &str, span: std::ops::Range<usize>) {
        let known = self.spec.keys.iter().map(|key| key.name);
        let place =
            if self.spec.title.is_empty() { "at the top".to_owned() } else { format!("in `{}`", self.spec.title) };
        let mistake = Mistake::error(
            format!("unknown key `{}` {place}", shown(name)),
            Place { file: self.file, span },
            "there is no such key here",
        );
        if self.mistakes.are_many() {
            return self.mistake(mistake);
        }
        let mistake = match near(name, known.clone()).or_else(|| elsewhere(name)) {
            Some(suggestion) => mistake.help(suggestion),
            None => mistake.help(format!("the keys here are {}", known.collect::<Vec<_>>().join(", "))),
        };
        self.mistake(mistake);
    }

    /// Reports a value of the wrong type; `None`, so that a reader can return it.
    pub fn wrong_type<T>(&self, value: &Spanned<DeValue<'_>>, wanted: &str, name: Option<&str>) -> Option<T> {
        let title = match name {
            Some(name) => format!("`{name}` must be {wanted}"),
            None => format!("this must be {wanted}"),
        };
        let given = match value.get_ref() {
            DeValue::Integer(_) => "an integer",
            DeValue::Array(_) => "a list",
            DeValue::Boolean(_) => "true or false",
            DeValue::String(_) => "a string",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Datetime(_) => "a date",
            DeValue::Table(_) => "a table",
        };
        let mistake = Mistake::error(title, self.place_of(value), format!("this is {given}"));
        let of_units = ["a duration", "a size", "a percentage"].iter().any(|form| wanted.starts_with(form));
        let unquoted = matches!(value.get_ref(), DeValue::Integer(_)) && of_units;
        self.mistake(
            mistake.help_if_any(unquoted.then(|| "write it as a string, with its unit, in quotes".to_owned())),
        );
        None
    }

    fn out_of_range(&self, value: &Spanned<DeValue<'_>>, name: &str, min: &str, max: &str) {
        let label = format!("must be {min} to {max}");
        self.mistake(Mistake::error(format!("`{name}` is out of range"), self.place_of(value), label));
    }

    /// Reports a list that is longer than its limit.
    pub fn too_many(&self, value: &Spanned<DeValue<'_>>, name: &str, count: usize, max: usize) {
        let label = format!("{count} of them, and at most {max} are allowed");
        self.mistake(Mistake::error(format!("`{name}` is too long"), self.place_of(value), label));
    }
}

/// Which table has this key.
fn elsewhere(name: &str) -> Option<String> {
    let table = keys::TABLES.iter().find(|table| table.keys.iter().any(|key| key.name == name))?;
    Some(match table.title {
        "" => format!("`{name}` stands at the top of the file, above all tables"),
        title => format!("`{name}` is a key of `{title}`"),
    })
}

/// "did you mean `x`?", if one of `known` is near.
pub fn near<'k>(given: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    const SIMILARITY_MIN: f64 = 0.7;
    const CHARS_MAX: usize = 64;
    const NAMES_COMPARED_MAX: usize = 4_096;
    if given.chars().count() > CHARS_MAX {
        return None;
    }
    let lower = given.to_lowercase();
    // Names of very different lengths are not near, and comparing is slow.
    let comparable = |word: &&str| word.len() <= 2 * given.len() + 2 && given.len() <= 2 * word.len() + 2;
    let similarity = |word: &str| {
        let word = word.to_lowercase();
        // Keys are parts joined by `_`: the parts in another order, or all but one of them, are near too.
        let parts = |text: &str| {
            let mut parts: Vec<String> = text.split(['_', '-', '.']).map(str::to_owned).collect();
            parts.sort_unstable();
            parts.join("_")
        };
        strsim::normalized_damerau_levenshtein(&lower, &word)
            .max(strsim::normalized_damerau_levenshtein(&parts(&lower), &parts(&word)))
            .max(strsim::jaro_winkler(&lower, &word) - 0.15)
    };
    let best = known
        .take(NAMES_COMPARED_MAX)
        .filter(comparable)
        .map(|word| (similarity(word), word))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let one_edit = given.chars().count() >= 3 && strsim::damerau_levenshtein(given, best.1) == 1;
    (best.0 >= SIMILARITY_MIN || one_edit).then(|| format!("did you mean `{}`?", best.1))
}
