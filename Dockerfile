# The service: `docker build -t hangtag .`, then
# `docker run -p 8000:8000 -v ./model:/model:ro -e HANGTAG_API_KEY=... hangtag`
# With extras, as for the review's decisions in PostgreSQL: `docker build --build-arg EXTRAS='[postgres]' -t hangtag .`
FROM python:3.13-slim
ARG EXTRAS=""
RUN useradd --create-home --uid 10001 hangtag
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir --constraint constraints.txt ".${EXTRAS}"
USER hangtag
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=3)"]
ENTRYPOINT ["hangtag"]
CMD ["serve", "--model", "/model", "--host", "0.0.0.0"]
