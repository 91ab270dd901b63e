//! Seeing that a value of a type that is not known is text, for messages.

use std::any::TypeId;
use std::marker::PhantomData;

/// Tells the type of a value that may hold references.
trait Typed {
    fn id(&self) -> TypeId
    where
        Self: 'static;
}

impl<T: ?Sized> Typed for PhantomData<T> {
    fn id(&self) -> TypeId
    where
        Self: 'static,
    {
        TypeId::of::<T>()
    }
}

/// The identity of `T` with all its lifetimes taken for `'static`.
fn id_of<T: ?Sized>() -> TypeId {
    let typed: &dyn Typed = &PhantomData::<T>;
    // SAFETY: only the bound of the trait object changes, which has no representation. The method reads
    // nothing through it: an identity is the same for all lifetimes of a type.
    let typed = unsafe { std::mem::transmute::<&dyn Typed, &(dyn Typed + 'static)>(typed) };
    typed.id()
}

/// A value that has an owned text. Implemented for all lifetimes of a type at once, so that no implementation
/// can let anything out that it was only lent.
trait Text {
    fn owned(&self) -> String;
}

impl Text for &str {
    fn owned(&self) -> String {
        self.to_string()
    }
}

impl Text for String {
    fn owned(&self) -> String {
        self.clone()
    }
}

impl<T: Text> Text for &T {
    fn owned(&self) -> String {
        (*self).owned()
    }
}

impl<T: Text> Text for (T, u16) {
    fn owned(&self) -> String {
        format!("{}:{}", self.0.owned(), self.1)
    }
}

/// The text of `value`, if it is a `U` but for its lifetimes.
fn text_as<U: Text + 'static, T>(value: &T) -> Option<String> {
    if id_of::<T>() != TypeId::of::<U>() {
        return None;
    }
    // SAFETY: `T` and `U` are one type but for their lifetimes, so that size, alignment and validity are the
    // same. The lifetimes of `U` may be longer than those of `value`; what is lent here is given only to
    // `Text::owned`, which can't make use of that, as it is the same function for all lifetimes.
    Some(unsafe { &*std::ptr::from_ref(value).cast::<U>() }.owned())
}

/// The text of `value` where it is text, or text with a port, which is appended. `None` for all else.
pub(crate) fn address_text<T>(value: &T) -> Option<String> {
    text_as::<&str, T>(value)
        .or_else(|| text_as::<String, T>(value))
        .or_else(|| text_as::<&&str, T>(value))
        .or_else(|| text_as::<&String, T>(value))
        .or_else(|| text_as::<(&str, u16), T>(value))
        .or_else(|| text_as::<(String, u16), T>(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_all_else() {
        // Not 'static.
        let owned = String::from("a.example:80");
        let text: &str = &owned;
        assert_eq!(address_text(&text).unwrap(), text);
        assert_eq!(address_text(&&text).unwrap(), text);
        assert_eq!(address_text(&&owned).unwrap(), text);
        assert_eq!(address_text(&owned.clone()).unwrap(), text);
        let (name, _) = text.split_once(':').unwrap();
        assert_eq!(address_text(&(name, 80_u16)).unwrap(), text);
        assert_eq!(address_text(&(name.to_string(), 80_u16)).unwrap(), text);

        assert_eq!(address_text(&80_u16), None);
        assert_eq!(address_text(&(name, 80_u32)), None);
        assert_eq!(address_text(&[text]), None);
        assert_eq!(address_text(&text.as_bytes()), None);
        let address: std::net::SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert_eq!(address_text(&address), None);
        assert_eq!(address_text(&&[address][..]), None);
    }
}
