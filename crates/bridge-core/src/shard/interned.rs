//! Values that many share, each held once and known by a number.

use alloc::{collections::BTreeMap, vec::Vec};
use core::num::NonZero;

/// Stands for a value.
pub(super) type Number = NonZero<u32>;

/// The values that are in use.
#[derive(Debug)]
pub(super) struct Interned<T> {
    values: Vec<Option<(T, u32)>>,
    numbers: BTreeMap<T, Number>,
    free: Vec<Number>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: BTreeMap::new(), free: Vec::new() }
    }
}

impl<T: Ord + Clone> Interned<T> {
    /// The number of `value`, which is in use once more.
    pub(super) fn intern(&mut self, value: &T) -> Number {
        if let Some(&number) = self.numbers.get(value) {
            if let Some((_, uses)) = &mut self.values[index(number)] {
                *uses += 1;
            }
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.values.push(None);
            let count = u32::try_from(self.values.len()).ok().and_then(Number::new);
            count.expect("there are no more values than users")
        });
        self.values[index(number)] = Some((value.clone(), 1));
        self.numbers.insert(value.clone(), number);
        number
    }

    /// The value is in use once less.
    pub(super) fn release(&mut self, number: Number) {
        let Some((value, uses)) = &mut self.values[index(number)] else { return };
        *uses -= 1;
        if *uses == 0 {
            self.numbers.remove(value);
            self.values[index(number)] = None;
            self.free.push(number);
        }
    }

    /// The value of a number that is in use.
    ///
    /// # Panics
    /// If it is not.
    pub(super) fn get(&self, number: Number) -> &T {
        let value = self.values.get(index(number)).and_then(Option::as_ref);
        &value.expect("whoever has a number uses its value").0
    }

    /// The number of a value, if it is in use.
    pub(super) fn number(&self, value: &T) -> Option<Number> {
        self.numbers.get(value).copied()
    }
}

const fn index(number: Number) -> usize {
    number.get() as usize - 1
}
