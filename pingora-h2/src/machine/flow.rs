//! Windows (RFC 9113 sections 5.2 and 6.9).

/// The largest window allowed.
pub(crate) const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// The initial window before any SETTINGS (RFC 9113 section 6.9.2).
pub(crate) const INITIAL_WINDOW: u32 = 65_535;

/// A window exceeded [`LARGEST_WINDOW`] (RFC 9113 section 6.9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

/// The number of bytes that we may send. Negative after the peer lowered its initial window (RFC 9113
/// section 6.9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SendWindow(i32);

impl SendWindow {
    pub(crate) fn new(initial: u32) -> Self {
        SendWindow(initial.min(LARGEST_WINDOW) as i32)
    }

    /// The bytes that may be sent now.
    pub(crate) fn available(self) -> usize {
        self.0.max(0) as usize
    }

    /// Takes `bytes` that are sent. The caller has checked [`SendWindow::available`].
    pub(crate) fn take(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes as i32);
    }

    /// The peer enlarges the window (WINDOW_UPDATE), or shifts it (a new initial window).
    pub(crate) fn shift(&mut self, by: i64) -> Result<(), Overflow> {
        let moved = i64::from(self.0) + by;
        if moved > i64::from(LARGEST_WINDOW) {
            return Err(Overflow);
        }
        self.0 = moved.max(i64::from(i32::MIN)) as i32;
        Ok(())
    }
}

/// The number of bytes that the peer may send, and the part that we have to give back.
///
/// `left + owed + bytes held by the reader = target`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceiveWindow {
    left: i64,
    owed: i64,
    target: u32,
}

impl ReceiveWindow {
    pub(crate) fn new(target: u32) -> Self {
        ReceiveWindow {
            left: i64::from(target),
            owed: 0,
            target,
        }
    }

    /// A window that the peer still believes to be `believed` bytes.
    pub(crate) fn believed(believed: u32, target: u32) -> Self {
        let mut window = ReceiveWindow::new(believed);
        window.set_target(target);
        window
    }

    /// Counts received bytes; `false`: more than the peer was allowed to send. Zero bytes need no
    /// window, even if it is negative (RFC 9113 section 6.9).
    pub(crate) fn take(&mut self, bytes: u32) -> bool {
        self.left -= i64::from(bytes);
        bytes == 0 || self.left >= 0
    }

    /// Bytes that the peer may still send.
    pub(crate) fn may_come(&self) -> usize {
        usize::try_from(self.left).unwrap_or(0)
    }

    /// The reader has consumed this many bytes.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.owed += bytes as i64;
    }

    /// Sets a new target size. A smaller one is reached by giving back less.
    pub(crate) fn set_target(&mut self, target: u32) {
        let target = target.min(LARGEST_WINDOW);
        self.owed += i64::from(target) - i64::from(self.target);
        self.target = target;
    }

    /// The peer has applied another initial window: the number of bytes that it may send changes
    /// accordingly, without a WINDOW_UPDATE (RFC 9113 section 6.9.2).
    pub(crate) fn shift(&mut self, by: i64) {
        self.left += by;
        self.target = (i64::from(self.target) + by).clamp(0, i64::from(LARGEST_WINDOW)) as u32;
    }

    /// Whether it is time for a WINDOW_UPDATE: often enough that the peer never stalls, but not for
    /// every few bytes.
    pub(crate) fn is_due(&self) -> bool {
        self.owed > 0 && (self.owed >= i64::from(self.target / 3) || self.owed >= self.left)
    }

    /// The increment of the WINDOW_UPDATE to send now; `None`: no update.
    pub(crate) fn take_update(&mut self) -> Option<u32> {
        if !self.is_due() {
            return None;
        }
        let room = i64::from(LARGEST_WINDOW) - self.left;
        let update = self.owed.min(room);
        if update <= 0 {
            return None;
        }
        self.owed -= update;
        self.left += update;
        Some(update as u32)
    }

    /// Bytes that the peer may send now.
    #[cfg(test)]
    pub(crate) fn left(&self) -> i64 {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9113 sections 6.9.1 and 6.9.2.
    #[test]
    fn a_sending_window_is_signed_and_bounded() {
        let rows: &[(u32, &[i64], Result<usize, Overflow>)] = &[
            (65_535, &[], Ok(65_535)),
            (65_535, &[1], Ok(65_536)),
            (65_535, &[-65_535], Ok(0)),
            (65_535, &[-70_000], Ok(0)),
            (65_535, &[-70_000, 5_000], Ok(535)),
            (0, &[i64::from(LARGEST_WINDOW)], Ok(LARGEST_WINDOW as usize)),
            (1, &[i64::from(LARGEST_WINDOW)], Err(Overflow)),
            (LARGEST_WINDOW, &[1], Err(Overflow)),
        ];
        for (initial, moves, expected) in rows {
            let mut window = SendWindow::new(*initial);
            let moved = moves.iter().try_for_each(|by| window.shift(*by));
            let found = moved.map(|()| window.available());
            assert_eq!(found, *expected, "{initial} {moves:?}");
        }
    }

    #[test]
    fn what_is_taken_comes_back_in_few_updates() {
        let mut window = ReceiveWindow::new(60_000);
        let mut updates = vec![];
        for _ in 0..60 {
            assert!(window.take(1000));
            window.give_back(1000);
            updates.extend(window.take_update());
        }
        assert_eq!(updates, [20_000, 20_000, 20_000]);
    }

    #[test]
    fn a_window_that_is_used_up_is_opened_by_whatever_comes_back() {
        let mut window = ReceiveWindow::new(1000);
        assert!(window.take(1000));
        assert_eq!(window.take_update(), None);
        window.give_back(1);
        assert_eq!(window.take_update(), Some(1));
        assert!(window.take(1));
        assert!(!window.take(1), "beyond the window");
    }

    #[test]
    fn another_target_is_reached_by_updates() {
        let rows: &[(u32, u32, u32, Option<u32>)] = &[
            // Target, new target, given back before, update.
            (1000, 4000, 0, Some(3000)),
            (1000, 1000, 0, None),
            (4000, 1000, 1000, None),
            (4000, 3000, 4000, Some(3000)),
        ];
        for (old, new, returned, expected) in rows {
            let mut window = ReceiveWindow::new(*old);
            assert!(window.take(*returned));
            window.give_back(*returned as usize);
            window.set_target(*new);
            assert_eq!(window.take_update(), *expected, "{old} {new} {returned}");
        }
    }

    #[test]
    fn a_new_initial_window_moves_what_is_left() {
        let mut window = ReceiveWindow::new(65_535);
        assert!(window.take(60_000));
        window.shift(1000 - 65_535);
        assert_eq!(window.left(), 5535 + 1000 - 65_535);
        assert!(window.take(0), "an empty frame");
        assert!(!window.take(1));
    }
}
