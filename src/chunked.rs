//! The chunked coding (RFC 9112 section 7.1), read in the strictest way: what two programs could read in two ways is an
//! error, and an error ends the connection, because where the next message starts is not known any more.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Bytes of chunk extensions and trailers in one body, with their line ends.
const MAX_BESIDES: usize = 16 << 10;
/// Digits in a size: as many as 64 bits have.
const MAX_DIGITS: u8 = 16;
/// Fields in a trailer section.
const MAX_TRAILERS: usize = 64;

/// A body that is not chunked as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunked coding of a body is broken")]
pub struct Malformed;

/// The next part of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Some of its data.
    Data(Bytes),
    /// Its end, and the fields behind it; there may be none.
    End(HeaderMap),
    /// More bytes are needed to tell.
    More,
}

/// Where in a chunked body the stream stands.
#[derive(Debug, Clone, Default)]
pub struct Chunks {
    state: State,
    besides: usize,
    trailers: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Size {
        digits: u8,
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a line behind the last chunk.
    Last,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

impl Chunks {
    /// Takes the next part out of the bytes that have come. Behind the end, what is left belongs to the next message.
    ///
    /// # Errors
    /// [`Malformed`]; nothing more may be read then.
    pub fn next(&mut self, ahead: &mut BytesMut) -> Result<Part, Malformed> {
        loop {
            match self.state {
                State::Data { left } if !ahead.is_empty() => {
                    let there =
                        usize::try_from(left).map_or(ahead.len(), |left| left.min(ahead.len()));
                    let data = ahead.split_to(there).freeze();
                    let left = left - there as u64;
                    self.state = if left == 0 {
                        State::DataCr
                    } else {
                        State::Data { left }
                    };
                    return Ok(Part::Data(data));
                }
                State::End => return self.fields().map(Part::End),
                State::Data { .. }
                | State::Size { .. }
                | State::Extension { .. }
                | State::SizeLf { .. }
                | State::DataCr
                | State::DataLf
                | State::Last
                | State::Trailer
                | State::TrailerLf
                | State::EndLf => {}
            }
            let Some(byte) = ahead.first().copied() else {
                return Ok(Part::More);
            };
            ahead.advance(1);
            self.state = self.step(byte).ok_or(Malformed)?;
        }
    }

    /// The state behind this byte; `None` if it must not be here.
    fn step(&mut self, byte: u8) -> Option<State> {
        match (self.state, byte) {
            (State::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16)?;
                (digits < MAX_DIGITS).then_some(State::Size {
                    digits: digits + 1,
                    size: (size << 4) | u64::from(digit),
                })
            }
            (State::Size { digits: 1.., size }, b'\r') => Some(State::SizeLf { size }),
            (State::Size { digits: 1.., size }, b';') => Some(State::Extension { size }),
            (State::Extension { size }, b'\r') => Some(State::SizeLf { size }),
            (State::Extension { size }, _) => self.beside(byte, State::Extension { size }),
            (State::SizeLf { size: 0 }, b'\n') => Some(State::Last),
            (State::SizeLf { size }, b'\n') => Some(State::Data { left: size }),
            (State::DataCr, b'\r') => Some(State::DataLf),
            (State::DataLf, b'\n') => Some(State::default()),
            (State::Last, b'\r') => Some(State::EndLf),
            (State::Trailer, b'\r') => Some(State::TrailerLf),
            (State::Last | State::Trailer, _) => {
                self.trailers.push(byte);
                self.beside(byte, State::Trailer)
            }
            (State::TrailerLf, b'\n') => {
                self.trailers.extend(b"\r\n");
                Some(State::Last)
            }
            (State::EndLf, b'\n') => Some(State::End),
            _ => None,
        }
    }

    /// One more byte of an extension or a trailer.
    fn beside(&mut self, byte: u8, next: State) -> Option<State> {
        self.besides += 1;
        (byte != b'\n' && self.besides <= MAX_BESIDES).then_some(next)
    }

    fn fields(&mut self) -> Result<HeaderMap, Malformed> {
        let mut fields = HeaderMap::new();
        if self.trailers.is_empty() {
            return Ok(fields);
        }
        let mut text = std::mem::take(&mut self.trailers);
        text.extend(b"\r\n");
        let mut found = [httparse::EMPTY_HEADER; MAX_TRAILERS];
        let parsed = httparse::parse_headers(&text, &mut found).map_err(|_| Malformed)?;
        let httparse::Status::Complete((_, found)) = parsed else {
            return Err(Malformed);
        };
        for field in found {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
            let value = HeaderValue::from_bytes(field.value).map_err(|_| Malformed)?;
            fields.append(name, value);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All data, all trailers, and what is left behind the body; read in pieces of `step` bytes.
    fn read(text: &[u8], step: usize) -> Result<(Vec<u8>, HeaderMap, usize), Malformed> {
        let (mut chunks, mut ahead, mut data) = (Chunks::default(), BytesMut::new(), Vec::new());
        let mut pieces = text.chunks(step);
        loop {
            match chunks.next(&mut ahead)? {
                Part::Data(bytes) => data.extend_from_slice(&bytes),
                Part::End(fields) => {
                    let left = ahead.len() + pieces.map(<[u8]>::len).sum::<usize>();
                    return Ok((data, fields, left));
                }
                Part::More => match pieces.next() {
                    Some(piece) => ahead.extend_from_slice(piece),
                    None => return Ok((data, HeaderMap::new(), usize::MAX)),
                },
            }
        }
    }

    #[test]
    fn a_body_is_read_alike_in_whatever_pieces_it_comes() {
        let text =
            b"5\r\nhello\r\n00A;x=\"y\"\r\n, worlds!!\r\n0\r\nx-sum: 7\r\nx-sum: 8\r\n\r\nGET";

        for step in [1, 2, 3, 7, 1000] {
            let (data, fields, left) = read(text, step).unwrap();
            assert_eq!(data, b"hello, worlds!!", "{step}");
            assert_eq!(fields.get_all("x-sum").iter().count(), 2);
            assert_eq!(left, 3);
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_an_error() {
        let cases: [&[u8]; 22] = [
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r\n0\n\r\n",
            b"5\r\nhello\r\n0\r\n\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"5\t\r\nhello\r\n0\r\n\r\n",
            b"\r\nhello\r\n0\r\n\r\n",
            b"g\r\nhello\r\n0\r\n\r\n",
            b"10000000000000005\r\nhello\r\n0\r\n\r\n",
            b"00000000000000000005\r\nhello\r\n0\r\n\r\n",
            b"5;\nxxx\r\nhello\r\n0\r\n\r\n",
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            b"6\r\nhello\r\n0\r\n\r\n",
            b"4\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhelloXX0\r\n\r\n",
            b"0\r\nx: y\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\n folded: y\r\n\r\n",
        ];

        for text in cases {
            assert_eq!(
                read(text, 1000).err(),
                Some(Malformed),
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extension = [b"1;".as_slice(), &vec![b'x'; MAX_BESIDES + 1], b"\r\n"].concat();
        let trailer = [
            b"0\r\nx: ".as_slice(),
            &vec![b'x'; MAX_BESIDES + 1],
            b"\r\n\r\n",
        ]
        .concat();

        assert_eq!(read(&extension, 4096).err(), Some(Malformed));
        assert_eq!(read(&trailer, 4096).err(), Some(Malformed));
    }
}
