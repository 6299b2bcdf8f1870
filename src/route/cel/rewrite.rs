//! Puts our operations in the place of the crate's: arithmetic as JSON needs it, compiled patterns, comparisons that know a payload's objects.

use std::collections::HashSet;

use ::cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use regex::RegexBuilder;

use super::{IN_LIST, MATCHES, MAX_REGEX, PATTERNS, Pattern, Places, WhenError, calculate};

/// Rewrites an expression, and returns the patterns that it names. `whole` are the divisions of which the checker knows that both sides are
/// whole by nature.
pub(super) fn rewrite(
    expression: &mut IdedExpr,
    places: &Places<'_>,
    whole: HashSet<u64>,
) -> Result<Vec<Pattern>, WhenError> {
    let mut rewriter = Rewriter { places, whole, patterns: Vec::new() };
    rewriter.rewrite(expression)?;
    Ok(rewriter.patterns)
}

struct Rewriter<'p, 't> {
    places: &'p Places<'t>,
    whole: HashSet<u64>,
    patterns: Vec<Pattern>,
}

impl Rewriter<'_, '_> {
    fn rewrite(&mut self, expression: &mut IdedExpr) -> Result<(), WhenError> {
        let is_whole = self.whole.contains(&expression.id);
        match &mut expression.expr {
            Expr::Call(call) => {
                for part in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
                    self.rewrite(part)?;
                }
                if let Some(ours) = calculate::ours(&call.func_name, is_whole).filter(|_| call.args.len() == 2) {
                    call.func_name = ours.into();
                } else if matches!(call.func_name.as_str(), operators::EQUALS | operators::NOT_EQUALS) {
                    // An object or a list that was written down knows only its like; one of a payload knows both.
                    if let [Expr::Map(_) | Expr::List(_), _] = [&call.args[0].expr, &call.args[1].expr] {
                        call.args.swap(0, 1);
                    }
                } else if let (operators::IN, [_, Expr::List(_)]) =
                    (call.func_name.as_str(), call.args.iter().map(|part| &part.expr).collect::<Vec<_>>().as_slice())
                {
                    call.func_name = IN_LIST.into();
                } else if call.func_name == "matches" {
                    self.compile_pattern(call)?;
                }
                Ok(())
            }
            Expr::Comprehension(comprehension) => {
                self.rewrite(&mut comprehension.iter_range)?;
                // `map` and `filter` add one to a list, which the crate knows by its own `+`.
                let step = &mut comprehension.loop_step;
                match &mut step.expr {
                    Expr::Call(call) => {
                        for part in call.args.iter_mut().flat_map(parts_of_step) {
                            self.rewrite(part)?;
                        }
                        Ok(())
                    }
                    _ => self.rewrite(step),
                }
            }
            Expr::List(list) => list.elements.iter_mut().try_for_each(|item| self.rewrite(item)),
            Expr::Select(select) => self.rewrite(&mut select.operand),
            Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
                ::cel::common::ast::EntryExpr::MapEntry(entry) => {
                    self.rewrite(&mut entry.key)?;
                    self.rewrite(&mut entry.value)
                }
                ::cel::common::ast::EntryExpr::StructField(field) => self.rewrite(&mut field.value),
            }),
            _ => Ok(()),
        }
    }

    fn compile_pattern(&mut self, call: &mut CallExpr) -> Result<(), WhenError> {
        if let Some(target) = call.target.take() {
            call.args.insert(0, *target);
        }
        let Some(pattern) = call.args.get_mut(1) else { return Ok(()) };
        let at = self.places.of(pattern.id);
        let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
            return Err(WhenError::new(at, "the pattern of `matches` has to be written here, in quotes")
                .help("a pattern that comes with a message could cost any amount of time"));
        };
        let regex = RegexBuilder::new(text.inner()).size_limit(MAX_REGEX).build().map_err(|error| {
            let said = error.to_string();
            let said = said.lines().last().unwrap_or_default().trim();
            WhenError::new(at, format!("this is no regular expression: {said}"))
        })?;
        pattern.expr = Expr::Ident(format!("{PATTERNS}{}", self.patterns.len()));
        self.patterns.push(Pattern(regex));
        call.func_name = MATCHES.into();
        Ok(())
    }
}

/// What a person wrote of one argument of a loop's step: `@result + [x]` has x.
fn parts_of_step(argument: &mut IdedExpr) -> Vec<&mut IdedExpr> {
    let is_sum = matches!(&argument.expr, Expr::Call(call) if call.func_name == operators::ADD
        && matches!(call.args.first().map(|first| &first.expr), Some(Expr::Ident(name)) if name.starts_with('@')));
    if !is_sum {
        return vec![argument];
    }
    match &mut argument.expr {
        Expr::Call(call) => call.args.iter_mut().collect(),
        _ => Vec::new(),
    }
}
