//! The attributes of `midflight-guest`: `#[state]` and `#[message]` add the derives an actor's types need, and
//! `#[derive(Stable)]` proves that no field holds anything whose bytes could differ between two runs. They generate
//! nothing else; an actor can write the same by hand.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Data, DeriveInput, Fields, GenericParam, Type, parse_macro_input, parse_quote};

/// Makes a struct or enum usable as an actor's state: `Debug`, `Clone`, serde's two traits and `Stable`.
#[proc_macro_attribute]
pub fn state(_: TokenStream, item: TokenStream) -> TokenStream {
    let item = Tokens::from(item);
    quote! {
        #[derive(
            ::core::fmt::Debug, ::core::clone::Clone, ::midflight_guest::serde::Serialize,
            ::midflight_guest::serde::Deserialize, ::midflight_guest::Stable,
        )]
        #[serde(crate = "midflight_guest::serde")]
        #item
    }
    .into()
}

/// Makes a struct or enum usable as a message, a cookie or arguments: `Debug`, `Clone`, `PartialEq` and serde's two traits.
#[proc_macro_attribute]
pub fn message(_: TokenStream, item: TokenStream) -> TokenStream {
    let item = Tokens::from(item);
    quote! {
        #[derive(
            ::core::fmt::Debug, ::core::clone::Clone, ::core::cmp::PartialEq, ::midflight_guest::serde::Serialize,
            ::midflight_guest::serde::Deserialize,
        )]
        #[serde(crate = "midflight_guest::serde")]
        #item
    }
    .into()
}

/// Implements `midflight_guest::Stable` when every field is `Stable`; otherwise the field's type is a compile error.
#[proc_macro_derive(Stable)]
pub fn stable(item: TokenStream) -> TokenStream {
    let mut input = parse_macro_input!(item as DeriveInput);
    let types = match field_types(&input.data) {
        Ok(types) => types,
        Err(error) => return error.to_compile_error().into(),
    };
    for parameter in &mut input.generics.params {
        if let GenericParam::Type(parameter) = parameter {
            parameter
                .bounds
                .push(parse_quote!(::midflight_guest::Stable));
        }
    }
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    // The fields are checked in a function, not in the bounds of the impl: so a type may contain itself.
    quote! {
        const _: () = {
            impl #generics ::midflight_guest::Stable for #name #arguments #bounds {}
            #[allow(dead_code)]
            fn every_field_is_stable #generics () #bounds {
                fn is_stable<T: ::midflight_guest::Stable + ?Sized>() {}
                #(is_stable::<#types>();)*
            }
        };
    }
    .into()
}

fn field_types(data: &Data) -> syn::Result<Vec<Type>> {
    fn of(fields: &Fields) -> impl Iterator<Item = Type> + '_ {
        fields.iter().map(|field| field.ty.clone())
    }
    match data {
        Data::Struct(data) => Ok(of(&data.fields).collect()),
        Data::Enum(data) => Ok(data
            .variants
            .iter()
            .flat_map(|variant| of(&variant.fields))
            .collect()),
        Data::Union(data) => Err(syn::Error::new(
            data.union_token.span,
            "a union cannot be an actor's state",
        )),
    }
}
