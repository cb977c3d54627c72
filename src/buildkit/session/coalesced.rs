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
const MAX_WRITE: usize = 128 << 10;

pub(super) struct Coalesced<S> {
    inner: S,
    buffer: Vec<u8>,
    /// Number of bytes of `buffer` that the connection has accepted.
    accepted: usize,
    /// `true` if something was written since the last flush request.
    has_new_data: bool,
}

impl<S> Coalesced<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, buffer: Vec::with_capacity(MAX_WRITE), accepted: 0, has_new_data: false }
    }
}

impl<S: AsyncWrite + Unpin> Coalesced<S> {
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.accepted < self.buffer.len() {
            let written = Pin::new(&mut self.inner).poll_write(context, &self.buffer[self.accepted..]);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.accepted += written,
            }
        }
        self.buffer.clear();
        self.accepted = 0;
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
        if self.buffer.len() == MAX_WRITE {
            ready!(self.drain(context))?;
        }
        let count = bytes.len().min(MAX_WRITE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        self.has_new_data = true;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.has_new_data) {
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
    struct WriteSizes(Arc<Mutex<Vec<usize>>>);

    impl AsyncWrite for WriteSizes {
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
        let noted = WriteSizes::default();
        let mut stream = Coalesced::new(noted.clone());
        let mut context = Context::from_waker(Waker::noop());
        let frame = vec![0; 16 << 10];
        for _ in 0..9 {
            let written = Pin::new(&mut stream).poll_write(&mut context, &frame);
            assert!(matches!(written, Poll::Ready(Ok(count)) if count == frame.len()));
            assert!(Pin::new(&mut stream).poll_flush(&mut context).is_ready());
        }
        assert_eq!(*noted.0.lock().unwrap(), [MAX_WRITE]);
        assert!(Pin::new(&mut stream).poll_flush(&mut context).is_ready());
        assert_eq!(*noted.0.lock().unwrap(), [MAX_WRITE, frame.len()]);
    }
}
