//! The parsed file before it has types: finding the entry that a fault is about, and taking it out.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::places::{Place, Places};

/// One step from a table or an array to what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The entry of this name.
    Key(String),
    /// The element at this position.
    Index(usize),
}

/// A way from the top of the file to one entry.
pub(super) type Path = Vec<Step>;

/// The innermost entry whose key or value covers these bytes.
///
/// A table's span is its header only, so a value is never covered by the table that it stands in.
pub(super) fn locate(root: &DeTable<'_>, span: &Range<usize>) -> Option<Path> {
    let mut search = Search {
        span,
        here: Vec::new(),
        best: None,
    };
    search.table(root);
    search.best.map(|(_, path)| path)
}

struct Search<'a> {
    span: &'a Range<usize>,
    here: Path,
    best: Option<(usize, Path)>,
}

impl Search<'_> {
    fn table(&mut self, table: &DeTable<'_>) {
        for (key, value) in table.iter() {
            self.here.push(Step::Key(key.get_ref().to_string()));
            self.weigh(&key.span());
            self.value(value);
            self.here.pop();
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>) {
        self.weigh(&value.span());
        if let Some(table) = value.get_ref().as_table() {
            self.table(table);
        }
        for (index, element) in value.get_ref().as_array().into_iter().flatten().enumerate() {
            self.here.push(Step::Index(index));
            self.value(element);
            self.here.pop();
        }
    }

    /// Of two that cover it the shorter wins, of two as short the deeper: `[[routes]]` is the span of the list and
    /// of its first element.
    fn weigh(&mut self, candidate: &Range<usize>) {
        if candidate.start > self.span.start || candidate.end < self.span.end {
            return;
        }
        let best = self.best.as_ref().map(|(len, path)| (*len, path.len()));
        let better = best.is_none_or(|(len, depth)| {
            candidate.len() < len || (candidate.len() == len && self.here.len() >= depth)
        });
        if better {
            self.best = Some((candidate.len(), self.here.clone()));
        }
    }
}

/// Takes the entry at the end of the path out. Returns whether it was there.
pub(super) fn remove(root: &mut DeTable<'_>, path: &[Step]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    match (last, parent_of(root, parents)) {
        (Step::Key(key), Some(Parent::Table(table))) => table.remove(key.as_str()).is_some(),
        (Step::Index(index), Some(Parent::Array(array))) => {
            let before = array.len();
            let kept = array.iter().enumerate().filter(|(i, _)| i != index);
            *array = kept.map(|(_, element)| element.clone()).collect();
            array.len() < before
        }
        (Step::Key(_) | Step::Index(_), _) => false,
    }
}

/// The text at the end of the path.
pub(super) fn text_at(root: &mut DeTable<'_>, path: &[Step]) -> Option<String> {
    let value = value_at(root, path)?;
    value.get_ref().as_str().map(str::to_owned)
}

/// The array at the end of the path.
pub(super) fn array_at<'a, 'i>(
    root: &'a mut DeTable<'i>,
    path: &[Step],
) -> Option<&'a mut DeArray<'i>> {
    match parent_of(root, path)? {
        Parent::Array(array) => Some(array),
        Parent::Table(_) => None,
    }
}

/// The span of the value at the end of the path; empty for the document itself.
pub(super) fn span_at(root: &mut DeTable<'_>, path: &[Step]) -> Range<usize> {
    value_at(root, path).map_or(0..0, |value| value.span())
}

fn value_at<'a, 'i>(
    root: &'a mut DeTable<'i>,
    path: &[Step],
) -> Option<&'a mut Spanned<DeValue<'i>>> {
    let (last, parents) = path.split_last()?;
    match (last, parent_of(root, parents)?) {
        (Step::Key(key), Parent::Table(table)) => table.get_mut(key.as_str()),
        (Step::Index(index), Parent::Array(array)) => array.get_mut(*index),
        (Step::Key(_), Parent::Array(_)) | (Step::Index(_), Parent::Table(_)) => None,
    }
}

/// The table at the end of the path.
pub(super) fn table_at<'a, 'i>(
    root: &'a mut DeTable<'i>,
    path: &[Step],
) -> Option<&'a mut DeTable<'i>> {
    match parent_of(root, path)? {
        Parent::Table(table) => Some(table),
        Parent::Array(_) => None,
    }
}

enum Parent<'a, 'i> {
    Table(&'a mut DeTable<'i>),
    Array(&'a mut DeArray<'i>),
}

fn parent_of<'a, 'i>(root: &'a mut DeTable<'i>, path: &[Step]) -> Option<Parent<'a, 'i>> {
    let mut here = Parent::Table(root);
    for step in path {
        let value = match (step, here) {
            (Step::Key(key), Parent::Table(table)) => table.get_mut(key.as_str())?,
            (Step::Index(index), Parent::Array(array)) => array.get_mut(*index)?,
            (Step::Key(_), Parent::Array(_)) | (Step::Index(_), Parent::Table(_)) => return None,
        };
        here = match value.get_mut() {
            DeValue::Table(table) => Parent::Table(table),
            DeValue::Array(array) => Parent::Array(array),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => return None,
        };
    }
    Some(here)
}

/// Calls back with every text value and where it stands; keys are left alone.
pub(super) fn for_each_text<'i>(
    table: &mut DeTable<'i>,
    visit: &mut impl FnMut(Range<usize>, &mut DeString<'i>),
) {
    for (_, value) in table.iter_mut() {
        texts(value, visit);
    }
}

fn texts<'i>(
    value: &mut Spanned<DeValue<'i>>,
    visit: &mut impl FnMut(Range<usize>, &mut DeString<'i>),
) {
    let span = value.span();
    match value.get_mut() {
        DeValue::String(text) => visit(span, text),
        DeValue::Array(array) => array.iter_mut().for_each(|element| texts(element, visit)),
        DeValue::Table(table) => for_each_text(table, visit),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// Where every entry stands.
pub(super) fn places(root: &DeTable<'_>) -> Places {
    let mut places = Places::default();
    collect(root, "", &mut places);
    places
}

fn collect(table: &DeTable<'_>, prefix: &str, places: &mut Places) {
    for (key, value) in table.iter() {
        let path = super::places::child(prefix, key.get_ref());
        collect_value(value, key.span(), path, places);
    }
}

fn collect_value(
    value: &Spanned<DeValue<'_>>,
    key: Range<usize>,
    path: String,
    places: &mut Places,
) {
    if let Some(table) = value.get_ref().as_table() {
        collect(table, &path, places);
    }
    for (index, element) in value.get_ref().as_array().into_iter().flatten().enumerate() {
        let path = super::places::element(&path, index);
        collect_value(element, element.span(), path, places);
    }
    let value = value.span();
    places.note(path, Place { key, value });
}
