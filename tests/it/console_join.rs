//! The build script's joining and shortening of the console's modules.

#[path = "../../build/join.rs"]
mod join;

use join::{joined, short_page, short_script, short_style};

#[test]
fn script_keeps_what_its_spaces_separate() {
    for (source, short) in [
        ("const a = 1, b = a + +a;", "const a=1,b=a+ +a;"),
        ("x = y - -y - z;", "x=y- -y-z;"),
        ("return a / b / c;", "return a/b/c;"),
        ("return /a b/g.test(c);", "return/a b/g.test(c);"),
        ("if (a in b) c = { d: 'e  f' };", "if(a in b)c={d:'e  f'};"),
        ("a = /[/ ]'\\/ \"/.exec(b) / 2;", "a=/[/ ]'\\/ \"/.exec(b)/2;"),
        ("b = `a  ${c ? `d  ${e }  ` : { f : 1 } }  // g`;", "b=`a  ${c?`d  ${e}  `:{f:1}}  // g`;"),
        ("a = 'http://b' // c\n\n  + d; /* e\n */ f();", "a='http://b'\n+d;f();"),
        ("for (const a of [1]) b['\\''] = \"it's\";", "for(const a of[1])b['\\'']=\"it's\";"),
        ("class A { #b = 1; async c() { await d(); } }", "class A{#b=1;async c(){await d();}}"),
        ("a = b ? .5 : (c) / 2, d = e[1] / `f`;", "a=b?.5:(c)/2,d=e[1]/`f`;"),
        (
            "a = {\n  b,\n  c: d ||\n    e,\n};\nf(g,\n  () => {\n    h;\n    i();\n  });\n(j)();",
            "a={b,c:d||e,}\nf(g,()=>{h\ni();});\n(j)();",
        ),
        (
            "for (a = 1;\n  a < b;\n  a += 1) c[a];\n[d] = e;\nif (f)\n  g();\nelse h();",
            "for(a=1;\na<b;\na+=1)c[a];\n[d]=e\nif(f)\ng()\nelse h();",
        ),
    ] {
        assert_eq!(short_script(source), short);
        assert_eq!(short_script(short), short);
    }
}

#[test]
fn style_keeps_what_its_spaces_separate() {
    for (source, short) in [
        ("a , b > c { d : e; f: g }", "a,b>c{d :e;f:g}"),
        ("a :hover b.c { margin: 0 calc(1px + 2px); }", "a :hover b.c{margin:0 calc(1px + 2px)}"),
        (
            "/* a */ a { b: \"c  ; }\";\n}\n\n@media (d: e) and (f) { g + h { i: j } }",
            "a{b:\"c  ; }\"}\n@media (d:e) and (f){g + h{i:j}}",
        ),
    ] {
        assert_eq!(short_style(source).trim(), short);
    }
}

#[test]
fn page_loses_its_indentation() {
    assert_eq!(short_page("<a>\n  <b c=\"d  e\"> f\n</a>\n"), "<a>\n<b c=\"d  e\"> f\n</a>");
}

fn join(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    joined(folder.path(), files[0].0)
}

const PARTS: (&str, &str) = ("parts.js", "export const tag = 1;\nexport async function ask() {}\nlet own;\n");

#[test]
fn modules_become_one_script_in_order() {
    let main = "import { tag,\n  ask } from './parts.js';\nimport { card } from './cards.js';\nask(tag, card);\n";
    let cards = "import { tag } from './parts.js';\nexport const card = tag;\n";
    let script = join(&[("main.js", main), PARTS, ("cards.js", cards)]);
    let parts = "//parts.js\nconst tag=1\nasync function ask(){}\nlet own;\n";
    assert_eq!(script, format!("{parts}//cards.js\nconst card=tag;\n//main.js\nask(tag,card);\n"));
}

#[test]
#[should_panic(expected = "own is declared in main.js")]
fn name_of_two_modules_is_refused() {
    join(&[("main.js", "import { tag } from './parts.js';\nconst own = tag;\n"), PARTS]);
}

#[test]
#[should_panic(expected = "parts.js does not export own")]
fn import_of_name_that_is_not_exported_is_refused() {
    join(&[("main.js", "import { own } from './parts.js';\n"), PARTS]);
}

#[test]
#[should_panic(expected = "this import has another form")]
fn import_of_another_form_is_refused() {
    join(&[("main.js", "import * as parts from './parts.js';\n"), PARTS]);
}
