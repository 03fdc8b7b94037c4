"""What the pages show: theme, charts and words are pure; only `loaders` and `selection` know Streamlit."""
