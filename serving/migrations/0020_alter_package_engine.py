from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('serving', '0019_deleted_packages'),
    ]

    operations = [
        migrations.AlterField(
            model_name='package',
            name='engine',
            field=models.CharField(choices=[('llama_cpp', 'llama.cpp'), ('transformers', 'transformers'), ('vllm', 'vLLM'), ('ollama', 'Ollama'), ('sklearn', 'scikit-learn')], max_length=20),
        ),
    ]
