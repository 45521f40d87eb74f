//! Types and their written form from one description, so that the two cannot differ.

/// A record: its fields, in order, one behind the other.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident $(<$($g:ident = $default:ty),*>)? {
        $($(#[$field_doc:meta])* $field:ident: $ty:ty),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name $(<$($g = $default),*>)? {
            $($(#[$field_doc])* pub $field: $ty),*
        }

        impl<'a, $($($g: Wire<'a>),*)?> Wire<'a> for $name $(<$($g),*>)? {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }
            #[inline]
            fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
                Ok(Self { $($field: Wire::take(frame)?),* })
            }
        }
    };
}

/// A variant: one byte that says which, then what it carries.
macro_rules! variant {
    ($(#[$doc:meta])* $name:ident $(<$($g:ident = $default:ty),*>)? {
        $($(#[$case_doc:meta])* $tag:literal = $case:ident $(($ty:ty))?),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name $(<$($g = $default),*>)? {
            $($(#[$case_doc])* $case $(($ty))?),*
        }

        impl<'a, $($($g: Wire<'a>),*)?> $name $(<$($g),*>)? {
            /// `take`, straight to the end of a list: a variant is as large as its largest case, and would be moved twice.
            #[allow(dead_code)] // not every variant is ever one of a list
            #[inline]
            pub(crate) fn take_onto(
                frame: &mut Reader<'a>,
                list: &mut Vec<Self>,
            ) -> Result<(), FrameError> {
                match frame.byte()? {
                    $($tag => list.push(variant!(@take frame $case $(($ty))?)),)*
                    tag => return Err(FrameError::Tag { what: stringify!($name), tag }),
                }
                Ok(())
            }
        }

        impl<'a, $($($g: Wire<'a>),*)?> Wire<'a> for $name $(<$($g),*>)? {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(variant!(@bind value $case $(($ty))?) => {
                        out.push($tag);
                        variant!(@put value out $(($ty))?);
                    }),*
                }
            }
            #[inline]
            fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
                match frame.byte()? {
                    $($tag => Ok(variant!(@take frame $case $(($ty))?)),)*
                    tag => Err(FrameError::Tag { what: stringify!($name), tag }),
                }
            }
        }
    };
    (@bind $value:ident $case:ident ($ty:ty)) => { Self::$case($value) };
    (@bind $value:ident $case:ident) => { Self::$case };
    (@put $value:ident $out:ident ($ty:ty)) => { $value.put($out) };
    (@put $value:ident $out:ident) => {};
    (@take $frame:ident $case:ident ($ty:ty)) => { Self::$case(Wire::take($frame)?) };
    (@take $frame:ident $case:ident) => { Self::$case };
}
