//! Upper bounds for the memory of one connection.

/// The default of [`L4BufferSettings::read_capacity`], in bytes.
pub const DEFAULT_L4_READ_BUFFER_SIZE: usize = 64 * 1024;
/// The default of [`L4BufferSettings::write_capacity`], in bytes.
pub const DEFAULT_L4_WRITE_BUFFER_SIZE: usize = 1460;

/// The amount that a connection of a listener may buffer.
///
/// A [`Stream`](super::stream::Stream) owns no buffer: it reads into, and writes from, its caller's
/// memory. These settings exist for programs that were written for buffered streams; they are upper
/// bounds that always hold, and never allocate memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L4BufferSettings {
    /// The maximum number of bytes buffered after reading; `None` is
    /// [`DEFAULT_L4_READ_BUFFER_SIZE`].
    pub read: Option<usize>,
    /// The maximum number of bytes buffered before writing; `None` is
    /// [`DEFAULT_L4_WRITE_BUFFER_SIZE`].
    pub write: Option<usize>,
}

impl L4BufferSettings {
    /// Bounds for both directions, in bytes.
    pub fn new(read: usize, write: usize) -> Self {
        L4BufferSettings {
            read: Some(read),
            write: Some(write),
        }
    }

    /// No buffering at all: both bounds are 0.
    pub fn unbuffered() -> Self {
        Self::new(0, 0)
    }

    /// Sets the bound for reading, in bytes.
    pub fn read(mut self, read: usize) -> Self {
        self.read = Some(read);
        self
    }

    /// Sets the bound for writing, in bytes.
    pub fn write(mut self, write: usize) -> Self {
        self.write = Some(write);
        self
    }

    /// The bound for reading, in bytes.
    pub fn read_capacity(&self) -> usize {
        self.read.unwrap_or(DEFAULT_L4_READ_BUFFER_SIZE)
    }

    /// The bound for writing, in bytes.
    pub fn write_capacity(&self) -> usize {
        self.write.unwrap_or(DEFAULT_L4_WRITE_BUFFER_SIZE)
    }
}
