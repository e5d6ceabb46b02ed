//! The statements of SQL in the source, put together as the compiler does it: from literals, `concat!`, and the macros
//! beside them.

use crate::source;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Text(String),
    Word(String),
    /// `$name` in a macro.
    Variable(String),
    Sign(char),
}

/// An arm of a macro: the names of its variables, and what it stands for.
type Arm = (Vec<String>, Vec<Token>);

/// The macros of a file by their names.
type Macros = BTreeMap<String, Vec<Arm>>;

const VERBS: [&str; 5] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "];

/// The statements of these files, each with the file's path: those whose first word is a verb of SQL.
pub fn of(files: &[(String, String)]) -> Vec<(String, String)> {
    let read: Vec<(&String, Vec<Token>, Macros)> = files
        .iter()
        .map(|(path, text)| {
            let (tokens, macros) = without_macros(tokens(source::without_tests(text)));
            (path, tokens, macros)
        })
        .collect();
    let everywhere: Macros = read.iter().flat_map(|(_, _, macros)| macros.clone()).collect();
    let mut found = Vec::new();
    for (path, tokens, own) in &read {
        let known: Macros = everywhere.iter().chain(own).map(|(name, arms)| (name.clone(), arms.clone())).collect();
        let mut texts = Vec::new();
        expand(tokens, &known, &mut texts);
        let is_statement = |sql: &String| VERBS.iter().any(|verb| sql.starts_with(verb)) && !sql.contains(['{', '}']);
        let is_whole = |sql: &String| is_statement(sql) && sql.trim_end() == sql;
        found.extend(texts.into_iter().filter(is_whole).map(|sql| ((*path).clone(), sql)));
    }
    found
}

/// A value of SQLite's as PostgreSQL would print it.
pub fn shown(value: rusqlite::types::ValueRef<'_>) -> String {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        other => panic!("{other:?} is not expected"),
    }
}

fn tokens(code: &str) -> Vec<Token> {
    let chars: Vec<char> = code.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
    while at < chars.len() {
        let (c, next) = (chars[at], chars.get(at + 1).copied().unwrap_or(' '));
        match c {
            '/' if next == '/' => at += chars[at..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - at),
            '\'' if next == '\\' || chars.get(at + 2) == Some(&'\'') => {
                let from = at + if next == '\\' { 3 } else { 2 };
                at = from + chars[from..].iter().position(|c| *c == '\'').unwrap() + 1;
            }
            '"' => {
                let is_raw = matches!(tokens.last(), Some(Token::Word(word)) if word == "r" || word == "br");
                let (text, end) = source::literal(&chars, at + 1, is_raw.then_some(0));
                tokens.push(Token::Text(text));
                at = end + 1;
            }
            '$' if is_word(&next) => {
                let end = at + 1 + chars[at + 1..].iter().take_while(|c| is_word(c)).count();
                tokens.push(Token::Variable(chars[at + 1..end].iter().collect()));
                at = end;
            }
            c if is_word(&c) => {
                let end = at + chars[at..].iter().take_while(|c| is_word(c)).count();
                tokens.push(Token::Word(chars[at..end].iter().collect()));
                at = end;
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push(Token::Sign(c));
                }
                at += 1;
            }
        }
    }
    tokens
}

/// The place behind the bracket that closes the one at `open`.
fn behind(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    panic!("a bracket is not closed");
}

/// True for `name!` at that place, followed by a bracket.
fn is_call(tokens: &[Token], at: usize) -> bool {
    matches!(
        (tokens.get(at), tokens.get(at + 1), tokens.get(at + 2)),
        (Some(Token::Word(_)), Some(Token::Sign('!')), Some(Token::Sign('(' | '[' | '{')))
    )
}

/// The tokens without the definitions of macros, and these.
fn without_macros(tokens: Vec<Token>) -> (Vec<Token>, Macros) {
    let (mut rest, mut macros, mut at) = (Vec::new(), Macros::new(), 0);
    while at < tokens.len() {
        if tokens[at] == Token::Word("macro_rules".to_owned()) {
            let Token::Word(name) = &tokens[at + 2] else { panic!("a macro has a name") };
            let end = behind(&tokens, at + 3);
            macros.insert(name.clone(), arms(&tokens[at + 4..end - 1]));
            at = end;
        } else {
            rest.push(tokens[at].clone());
            at += 1;
        }
    }
    (rest, macros)
}

fn arms(tokens: &[Token]) -> Vec<Arm> {
    let (mut arms, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let end = behind(tokens, at);
        let variables = tokens[at..end].iter().filter_map(|token| match token {
            Token::Variable(name) => Some(name.clone()),
            _ => None,
        });
        let body = end + 2; // behind `=>`
        let body_end = behind(tokens, body);
        arms.push((variables.collect(), tokens[body + 1..body_end - 1].to_vec()));
        at = body_end + usize::from(tokens.get(body_end) == Some(&Token::Sign(';')));
    }
    arms
}

/// The arguments between the brackets.
fn arguments(tokens: &[Token]) -> Vec<Vec<Token>> {
    let (mut all, mut one, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        match &tokens[at] {
            Token::Sign(',') => all.push(std::mem::take(&mut one)),
            Token::Sign('(' | '[' | '{') => {
                let end = behind(tokens, at);
                one.extend_from_slice(&tokens[at..end]);
                at = end - 1;
            }
            token => one.push(token.clone()),
        }
        at += 1;
    }
    if !one.is_empty() {
        all.push(one);
    }
    all
}

/// Every text that these tokens can stand for: of each branch, where they choose.
fn expand(tokens: &[Token], macros: &Macros, texts: &mut Vec<String>) {
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            Token::Text(text) => texts.push(text.clone()),
            Token::Word(name) if is_call(tokens, at) => {
                let end = behind(tokens, at + 2);
                let inside = &tokens[at + 3..end - 1];
                let given = arguments(inside);
                let arm = macros.get(name).and_then(|arms| arms.iter().find(|arm| arm.0.len() == given.len()));
                if name == "concat" {
                    let mut whole = vec![String::new()];
                    for part in &given {
                        let mut parts = Vec::new();
                        expand(part, macros, &mut parts);
                        let joined =
                            |begun: &String| parts.iter().map(|part| format!("{begun}{part}")).collect::<Vec<_>>();
                        whole = whole.iter().flat_map(joined).collect();
                    }
                    texts.extend(whole);
                } else if let Some((variables, body)) = arm {
                    let value = |token: &Token| match token {
                        Token::Variable(name) => match variables.iter().position(|variable| variable == name) {
                            Some(n) => given[n].clone(),
                            None => vec![token.clone()],
                        },
                        token => vec![token.clone()],
                    };
                    expand(&body.iter().flat_map(value).collect::<Vec<_>>(), macros, texts);
                } else {
                    expand(inside, macros, texts);
                }
                at = end - 1;
            }
            _ => {}
        }
        at += 1;
    }
}
