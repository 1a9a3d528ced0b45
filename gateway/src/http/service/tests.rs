use http::HeaderMap;

use super::*;

fn id() -> RequestId {
    RequestIds::default().of(&HeaderMap::from_iter([(request_id::HEADER, HeaderValue::from_static("req-1"))]))
}

fn finished(answer: Response<Body>, version: Version) -> Response<Body> {
    finish(answer, &id(), &Uri::from_static("/a?secret=1"), version)
}

async fn text(answer: Response<Body>) -> String {
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn every_answer_has_the_request_id_and_is_not_sniffed() {
    let answer = finished(Response::new(Body::from(Bytes::from_static(b"{}"))), Version::HTTP_11);
    assert_eq!(answer.headers()["x-request-id"], "req-1");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(text(answer).await, "{}");
}

#[tokio::test]
async fn a_problem_is_rendered_with_the_path_and_without_the_query() {
    let answer = finished(Problem::new(Code::NotFound, "nothing here").into_response(), Version::HTTP_11);
    let text = text(answer).await;
    assert!(text.contains(r#""instance":"/a","#), "{text}");
    assert!(text.contains(r#""request_id":"req-1""#) && !text.contains("secret"), "{text}");
}

#[test]
fn a_request_whose_rest_is_on_its_way_closes_an_http_1_connection() {
    for code in [Code::TooLarge, Code::RequestTimeout] {
        let answer = finished(Problem::new(code, "").into_response(), Version::HTTP_11);
        assert_eq!(answer.headers()["connection"], "close");
        let answer = finished(Problem::new(code, "").into_response(), Version::HTTP_2);
        assert!(!answer.headers().contains_key("connection"));
    }
    let answer = finished(Problem::new(Code::NotFound, "").into_response(), Version::HTTP_11);
    assert!(!answer.headers().contains_key("connection"));
}

#[tokio::test]
async fn a_panic_is_an_internal_error_without_its_message() {
    let answer = finished(after_panic(&"index out of bounds", &id()), Version::HTTP_11);
    assert_eq!(answer.status(), 500);
    assert!(!text(answer).await.contains("index"));
}

#[test]
fn a_head_is_measured_as_http_1_would_write_it() {
    let request = Request::post("/path?q=1").header("a", "12345").header("b", "").body(()).unwrap();
    assert_eq!(head_bytes(&request), "POST".len() + "/path?q=1".len() + (1 + 5 + 4) + (1 + 4));
}
