//! Index of the largest value.

/// Returns the index of the largest value; ties go to the first.
pub fn argmax<T: PartialOrd>(values: &[T]) -> usize {
    let mut largest = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[largest] {
            largest = index;
        }
    }
    largest
}
