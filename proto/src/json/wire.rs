//! Protobuf's wire format, as far as reading back what was just encoded needs it.

/// The bytes and the descriptors disagree. Cannot happen with messages and descriptors of one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireError {
    /// The bytes end inside a field.
    Truncated,
    /// A field has another form than its type says.
    Mismatch,
}

/// A value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

/// The three forms that numbers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireType {
    Varint,
    Fixed32,
    Fixed64,
    Bytes,
}

/// Takes one field: its number and its value.
pub(super) fn field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Raw<'a>), WireError> {
    let key = varint(rest)?;
    let number = u32::try_from(key >> 3).map_err(|_| WireError::Mismatch)?;
    let raw = match key & 7 {
        0 => packed(rest, WireType::Varint)?,
        1 => packed(rest, WireType::Fixed64)?,
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| WireError::Truncated)?;
            Raw::Bytes(take(rest, length)?)
        }
        5 => packed(rest, WireType::Fixed32)?,
        _ => return Err(WireError::Mismatch),
    };
    Ok((number, raw))
}

/// Takes one number out of a packed field.
pub(super) fn packed<'a>(rest: &mut &'a [u8], wire_type: WireType) -> Result<Raw<'a>, WireError> {
    Ok(match wire_type {
        WireType::Varint => Raw::Varint(varint(rest)?),
        WireType::Fixed32 => {
            let bytes = take(rest, 4)?
                .try_into()
                .map_err(|_| WireError::Truncated)?;
            Raw::Fixed32(u32::from_le_bytes(bytes))
        }
        WireType::Fixed64 => {
            let bytes = take(rest, 8)?
                .try_into()
                .map_err(|_| WireError::Truncated)?;
            Raw::Fixed64(u64::from_le_bytes(bytes))
        }
        WireType::Bytes => return Err(WireError::Mismatch),
    })
}

/// The number that a `sint` varint means.
pub(super) const fn zigzag(bits: u64) -> i64 {
    (bits >> 1) as i64 ^ -((bits & 1) as i64)
}

fn varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    prost::encoding::decode_varint(rest).map_err(|_| WireError::Truncated)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], WireError> {
    let (taken, left) = rest.split_at_checked(length).ok_or(WireError::Truncated)?;
    *rest = left;
    Ok(taken)
}
