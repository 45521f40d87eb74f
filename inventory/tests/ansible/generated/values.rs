//! Values for variables, each as its format writes it, and many of them nearly something else.

use proptest::prelude::*;

/// Values of INI: words, and much that is nearly a Python literal.
pub(super) fn ini_values() -> BoxedStrategy<String> {
    prop_oneof![
        3 => "[a-z0-9_.,/:+-]{0,6}",
        3 => "[-+]?[0-9_]{1,4}(\\.[0-9_]{0,3})?([eE][-+]?[0-9]{1,2})?",
        1 => "0[xobXOB][0-9a-f_]{0,5}",
        1 => "[rbuRB]{0,2}'[a-z0-9 \\\\nx\"]{0,6}'",
        1 => "[(\\[][0-9, 'a]{0,6}[)\\]]",
        1 => "\\{('[ab]': ?[0-9'x]{1,3},? ?){0,2}\\}",
        1 => "(True|False|None|true|yes|no|null)[ ,x]{0,1}",
    ]
    .boxed()
}

/// Values of YAML: plain scalars that YAML 1.1 takes for something, and collections.
pub(super) fn yaml_values() -> BoxedStrategy<String> {
    prop_oneof![
        2 => "[a-z][a-z0-9_.]{0,5}",
        3 => "[-+]?[0-9_]{1,4}(\\.[0-9_]{0,3})?([eE][-+]?[0-9]{1,2})?",
        1 => "[1-9][0-9]?(:[0-5][0-9]){1,2}",
        1 => "0[xob]?[0-9a-f]{1,5}",
        1 => "(yes|No|ON|off|true|False|null|~|y|n|nan|\\.inf|\\.nan|<<|=)",
        1 => "20[0-9]{2}-0[1-9]-[12][0-8]( 0[0-9]:1[0-9]:2[0-9](\\.[0-9]{1,7})?( ?[-+]0[0-9]:30)?)?",
        1 => "'[a-z\": ]{0,6}'",
        1 => "\\[[0-9a-c, ]{0,6}\\]".prop_filter("no empty item", |text| {
            !text.contains(",,") && !text.contains(", ,") && !text.contains("[,") && !text.contains("[ ,")
        }),
        1 => "\\{a: [0-9]{1,3}, b: \"[a-z\\\\n]{0,1}\"\\}".prop_filter("a whole escape", |text| !text.contains("\\\"")),
    ]
    .boxed()
}

/// Values of JSON, as programs print them.
pub(super) fn json_values() -> BoxedStrategy<String> {
    prop_oneof![
        2 => "-?(0|[1-9][0-9]{0,20})",
        2 => "-?(0|[1-9][0-9]{0,3})\\.[0-9]{1,5}([eE][-+]?[0-9]{1,2})?",
        2 => "\"[a-z0-9 {}:'#]{0,6}(\\\\n|\\\\u00e9|\\\\/|\\\\\")?\"",
        1 => "(true|false|null|NaN|-Infinity|\\[\\]|\\{\\}|\\[1, \\[\"a\"\\]\\]|\\{\"b\": 1, \"a\": \\[\\]\\})",
    ]
    .boxed()
}
