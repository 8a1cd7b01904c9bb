//! Numbers as people read them.

/// Whole from 100 on, below that with up to three decimal places; commas between thousands: `75,301`, `12.3`, `0.031`.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        small if small >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    match text.split_once('.') {
        Some((whole, fraction)) => format!("{}.{fraction}", grouped(whole)),
        None => grouped(&text),
    }
}

/// Rounded to a whole number, with commas between thousands: `75,301`.
pub fn thousands(value: f64) -> String {
    grouped(&format!("{value:.0}"))
}

fn grouped(whole: &str) -> String {
    let mut grouped = String::new();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
