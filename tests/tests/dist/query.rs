//! What a `PromQL` expression asks for.

use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};

/// A metric, and the labels by which it is filtered or grouped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) labels: Vec<String>,
}

/// All of an expression. Variables of Grafana stand for durations that any would do for.
pub(crate) fn selectors(expression: &str) -> Result<Vec<Selector>, String> {
    let expression = expression.replace("$__rate_interval", "5m").replace("$__range", "1h");
    let mut found = Vec::new();
    walk(&parser::parse(&expression)?, &[], &mut found)?;
    Ok(found)
}

fn walk(expression: &Expr, grouped_by: &[String], found: &mut Vec<Selector>) -> Result<(), String> {
    match expression {
        Expr::VectorSelector(selector) => found.push(selected(selector, grouped_by)?),
        Expr::MatrixSelector(matrix) => found.push(selected(&matrix.vs, grouped_by)?),
        Expr::Aggregate(aggregate) => {
            let mut labels = grouped_by.to_vec();
            match &aggregate.modifier {
                Some(LabelModifier::Include(by)) => labels.extend(by.labels.iter().cloned()),
                Some(LabelModifier::Exclude(_)) => return Err("`without` is not checked here".to_owned()),
                None => {}
            }
            walk(&aggregate.expr, &labels, found)?;
        }
        Expr::Binary(binary) => {
            walk(&binary.lhs, grouped_by, found)?;
            walk(&binary.rhs, grouped_by, found)?;
        }
        Expr::Call(call) => {
            for argument in &call.args.args {
                walk(argument, grouped_by, found)?;
            }
        }
        Expr::Paren(paren) => walk(&paren.expr, grouped_by, found)?,
        Expr::Unary(unary) => walk(&unary.expr, grouped_by, found)?,
        Expr::Subquery(subquery) => walk(&subquery.expr, grouped_by, found)?,
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        Expr::Extension(_) => return Err("an extension of PromQL".to_owned()),
    }
    Ok(())
}

fn selected(selector: &VectorSelector, grouped_by: &[String]) -> Result<Selector, String> {
    let metric = selector.name.clone().ok_or("a selector names no metric")?;
    let matched = selector.matchers.matchers.iter().map(|matcher| matcher.name.clone());
    Ok(Selector { metric, labels: matched.chain(grouped_by.iter().cloned()).collect() })
}
