//! Coalesces small writes to a connection.
//!
//! The HTTP/2 server writes and flushes each frame of 16 KiB separately. Each write wakes the engine's reader, which
//! costs more than the transfer. Therefore a flush directly after a write only schedules another poll. If nothing more
//! was written by then, that poll writes the buffer to the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Maximum number of bytes in one write.
const LARGEST: usize = 128 << 10;

/// A connection whose small writes are coalesced.
pub(super) struct Coalesced<S> {
    inner: S,
    waiting: Vec<u8>,
    /// Number of bytes of `waiting` that the connection has accepted.
    taken: usize,
    /// `true` if something was written since the last flush request.
    is_fresh: bool,
}

impl<S> Coalesced<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, waiting: Vec::with_capacity(LARGEST), taken: 0, is_fresh: false }
    }
}

impl<S: AsyncWrite + Unpin> Coalesced<S> {
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.waiting.len() {
            let written = Pin::new(&mut self.inner).poll_write(context, &self.waiting[self.taken..]);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.taken += written,
            }
        }
        self.waiting.clear();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() == LARGEST {
            ready!(self.drain(context))?;
        }
        let count = bytes.len().min(LARGEST - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..count]);
        self.is_fresh = true;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.is_fresh) {
            context.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(self.drain(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::task::Waker;

    use super::*;

    /// Records the size of each write.
    #[derive(Clone, Default)]
    struct Noted(Arc<Mutex<Vec<usize>>>);

    impl AsyncWrite for Noted {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.lock().unwrap().push(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn consecutive_frames_become_one_write_and_the_last_frame_is_not_delayed() {
        let noted = Noted::default();
        let mut stream = Coalesced::new(noted.clone());
        let mut context = Context::from_waker(Waker::noop());
        let frame = vec![0; 16 << 10];
        for _ in 0..9 {
            let written = Pin::new(&mut stream).poll_write(&mut context, &frame);
            assert!(matches!(written, Poll::Ready(Ok(count)) if count == frame.len()));
            assert!(Pin::new(&mut stream).poll_flush(&mut context).is_ready());
        }
        assert_eq!(*noted.0.lock().unwrap(), [LARGEST]);
        assert!(Pin::new(&mut stream).poll_flush(&mut context).is_ready());
        assert_eq!(*noted.0.lock().unwrap(), [LARGEST, frame.len()]);
    }
}
